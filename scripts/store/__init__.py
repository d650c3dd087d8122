"""The simulated Shopify: any number of shops behind Shopify's GraphQL Admin API, for demonstration and tests."""
