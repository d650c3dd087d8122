-- The totals of models/sales.py. Statement-level triggers keep them: new rows add, old rows subtract, nothing else writes
-- them. Rows are touched in key order and a shop's writers go one at a time (models.tenants.write), so nothing deadlocks.
-- An upsert fires the triggers of inserts and of updates, mostly with no row for one of them: they leave at once then.

create type order_change as (
    tenant_id uuid, sign integer, day date, currency text, customer_shopify_id bigint, price numeric
);

create function add_sales(changes order_change[]) returns void language sql as $$
    insert into daily_sales (tenant_id, day, currency, orders, revenue)
    select tenant_id, day, currency, sum(sign), sum(sign * price)
    from unnest(changes)
    group by tenant_id, day, currency
    having sum(sign) <> 0 or sum(sign * price) <> 0
    order by tenant_id, day, currency
    on conflict (tenant_id, day, currency) do update
    set orders = daily_sales.orders + excluded.orders,
        revenue = daily_sales.revenue + excluded.revenue;

    insert into customer_sales (tenant_id, customer_shopify_id, currency, orders_count, total_spent)
    select tenant_id, customer_shopify_id, currency, sum(sign), sum(sign * price)
    from unnest(changes)
    where customer_shopify_id is not null
    group by tenant_id, customer_shopify_id, currency
    having sum(sign) <> 0 or sum(sign * price) <> 0
    order by tenant_id, customer_shopify_id, currency
    on conflict (tenant_id, customer_shopify_id, currency) do update
    set orders_count = customer_sales.orders_count + excluded.orders_count,
        total_spent = customer_sales.total_spent + excluded.total_spent;
$$;

create function keep_sales() returns trigger language plpgsql as $$
declare
    changes order_change[];
begin
    if tg_op = 'INSERT' then
        changes := array(
            select (tenant_id, 1, day, currency, customer_shopify_id, current_total_price)::order_change
            from new_rows where counts
        );
    elsif tg_op = 'DELETE' then
        changes := array(
            select (tenant_id, -1, day, currency, customer_shopify_id, current_total_price)::order_change
            from old_rows where counts
        );
    else
        changes := array(
            select (tenant_id, 1, day, currency, customer_shopify_id, current_total_price)::order_change
            from new_rows where counts
            union all
            select (tenant_id, -1, day, currency, customer_shopify_id, current_total_price)::order_change
            from old_rows where counts
        );
    end if;
    if cardinality(changes) > 0 then
        perform add_sales(changes);
    end if;
    return null;
end
$$;

create type row_change as (tenant_id uuid, sign integer);

create function keep_resource_total() returns trigger language plpgsql as $$
declare
    changes row_change[];  -- sign 0: a change that leaves the number alone
begin
    if tg_op = 'INSERT' then
        changes := array(
            select (tenant_id, (deleted_at is null and updated_at is not null)::integer)::row_change from new_rows
        );
    elsif tg_op = 'DELETE' then
        changes := array(
            select (tenant_id, -(deleted_at is null and updated_at is not null)::integer)::row_change from old_rows
        );
    else
        changes := array(
            select (tenant_id, (deleted_at is null and updated_at is not null)::integer)::row_change from new_rows
            union all
            select (tenant_id, -(deleted_at is null and updated_at is not null)::integer)::row_change from old_rows
        );
    end if;
    if cardinality(changes) > 0 then
        insert into resource_totals (tenant_id, resource, live, updated_at)
        select tenant_id, tg_table_name, sum(sign), clock_timestamp()
        from unnest(changes)
        group by tenant_id
        on conflict (tenant_id, resource) do update
        set live = resource_totals.live + excluded.live, updated_at = excluded.updated_at;
    end if;
    return null;
end
$$;

create trigger sales_of_inserted after insert on orders
    referencing new table as new_rows for each statement execute function keep_sales();
create trigger sales_of_updated after update on orders
    referencing new table as new_rows old table as old_rows for each statement execute function keep_sales();
create trigger sales_of_deleted after delete on orders
    referencing old table as old_rows for each statement execute function keep_sales();

create trigger total_of_inserted after insert on orders
    referencing new table as new_rows for each statement execute function keep_resource_total();
create trigger total_of_updated after update on orders
    referencing new table as new_rows old table as old_rows for each statement execute function keep_resource_total();
create trigger total_of_deleted after delete on orders
    referencing old table as old_rows for each statement execute function keep_resource_total();

create trigger total_of_inserted after insert on customers
    referencing new table as new_rows for each statement execute function keep_resource_total();
create trigger total_of_updated after update on customers
    referencing new table as new_rows old table as old_rows for each statement execute function keep_resource_total();
create trigger total_of_deleted after delete on customers
    referencing old table as old_rows for each statement execute function keep_resource_total();

create trigger total_of_inserted after insert on products
    referencing new table as new_rows for each statement execute function keep_resource_total();
create trigger total_of_updated after update on products
    referencing new table as new_rows old table as old_rows for each statement execute function keep_resource_total();
create trigger total_of_deleted after delete on products
    referencing old table as old_rows for each statement execute function keep_resource_total();
