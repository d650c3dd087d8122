"""Queries whose cost Shopify's own pages or recordings give, and those of bulk operations."""

#: The dense order page of the published arithmetic: 772 points.
ORDERS_IN_FULL = """
query($after:String){orders(first:250,after:$after,sortKey:UPDATED_AT,query:"updated_at:>='2020-11-01T00:00:00Z'"){pageInfo{hasNextPage endCursor}nodes{
id legacyResourceId name createdAt processedAt updatedAt cancelledAt cancelReason closedAt test confirmed edited taxesIncluded currencyCode presentmentCurrencyCode displayFinancialStatus displayFulfillmentStatus returnStatus tags sourceName discountCodes paymentGatewayNames email customer{id}
originalTotalPriceSet{...M}totalPriceSet{...M}currentTotalPriceSet{...M}subtotalPriceSet{...M}currentSubtotalPriceSet{...M}totalDiscountsSet{...M}totalTaxSet{...M}currentTotalTaxSet{...M}totalShippingPriceSet{...M}currentShippingPriceSet{...M}totalTipReceivedSet{...M}totalReceivedSet{...M}totalRefundedSet{...M}totalRefundedShippingSet{...M}netPaymentSet{...M}totalOutstandingSet{...M}refundDiscrepancySet{...M}
lineItems(first:25){pageInfo{hasNextPage}nodes{id sku title variantTitle vendor name quantity currentQuantity refundableQuantity isGiftCard taxable requiresShipping product{id}variant{id}originalUnitPriceSet{...M}originalTotalSet{...M}discountedTotalSet{...M}totalDiscountSet{...M}taxLines{title rate priceSet{...M}}discountAllocations{allocatedAmountSet{...M}}}}
shippingLines(first:3,includeRemovals:true){pageInfo{hasNextPage}nodes{id title code isRemoved originalPriceSet{...M}discountedPriceSet{...M}currentDiscountedPriceSet{...M}taxLines{priceSet{...M}}discountAllocations{allocatedAmountSet{...M}}}}
refunds(first:50){id legacyResourceId createdAt processedAt updatedAt note totalRefundedSet{...M}duties{amountSet{...M}}refundLineItems(first:10){pageInfo{hasNextPage}nodes{id quantity restockType restocked subtotalSet{...M}totalTaxSet{...M}lineItem{id}}}refundShippingLines(first:3){nodes{id subtotalAmountSet{...M}taxAmountSet{...M}}}orderAdjustments(first:5){nodes{id reason amountSet{...M}taxAmountSet{...M}}}transactions(first:5){nodes{id}}}
transactions(first:50){id kind status gateway test createdAt processedAt errorCode amountSet{...M}parentTransaction{id}}}}}
fragment M on MoneyBag{shopMoney{amount currencyCode}presentmentMoney{amount currencyCode}}
"""

#: Orders with two connections and a list.
BULK_ORDERS = (
    "{orders{edges{node{id name updatedAt refunds{id totalRefundedSet{shopMoney{amount}}} "
    "lineItems{edges{node{id quantity}}} shippingLines{edges{node{id title}}}}}}}"
)
#: To be completed by whether objects are grouped.
RUN_BULK = (
    "mutation($query:String!){bulkOperationRunQuery(query:$query,groupObjects:%s)"
    "{bulkOperation{id status createdAt completedAt url} userErrors{field message code}}}"
)
#: Everything of an operation.
OPERATION = (
    "id status errorCode createdAt completedAt objectCount rootObjectCount fileSize url partialDataUrl query type"
)
