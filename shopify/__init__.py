"""Shopify's protocol: what goes over its wire, turned into plain typed rows.

Start at ``client`` (reads), ``webhooks`` (deliveries), ``resources`` (what is known of orders, customers, products) and
``budget`` (how fast a shop may be asked).
"""
