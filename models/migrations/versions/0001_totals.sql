-- The totals of models/sales.py. Statement-level triggers keep them: new rows add, old rows subtract, nothing else writes
-- them. Rows are touched in key order and a shop's writers go one at a time (models.tenants.write), so nothing deadlocks.

create function changed_rows(operation text) returns text language sql immutable as $$
    select case operation
        when 'INSERT' then 'select 1 as sign, * from new_rows'
        when 'DELETE' then 'select -1 as sign, * from old_rows'
        else 'select 1 as sign, * from new_rows union all select -1 as sign, * from old_rows'
    end
$$;

create function keep_sales() returns trigger language plpgsql as $$
begin
    execute format($statement$
        insert into daily_sales (tenant_id, day, currency, orders, revenue)
        select tenant_id, day, currency, sum(sign), sum(sign * current_total_price)
        from (%s) as change
        where counts
        group by tenant_id, day, currency
        having sum(sign) <> 0 or sum(sign * current_total_price) <> 0
        order by tenant_id, day, currency
        on conflict (tenant_id, day, currency) do update
        set orders = daily_sales.orders + excluded.orders,
            revenue = daily_sales.revenue + excluded.revenue
    $statement$, changed_rows(tg_op));
    execute format($statement$
        insert into customer_sales (tenant_id, customer_shopify_id, currency, orders_count, total_spent)
        select tenant_id, customer_shopify_id, currency, sum(sign), sum(sign * current_total_price)
        from (%s) as change
        where counts and customer_shopify_id is not null
        group by tenant_id, customer_shopify_id, currency
        having sum(sign) <> 0 or sum(sign * current_total_price) <> 0
        order by tenant_id, customer_shopify_id, currency
        on conflict (tenant_id, customer_shopify_id, currency) do update
        set orders_count = customer_sales.orders_count + excluded.orders_count,
            total_spent = customer_sales.total_spent + excluded.total_spent
    $statement$, changed_rows(tg_op));
    return null;
end
$$;

create function keep_resource_total() returns trigger language plpgsql as $$
begin
    execute format($statement$
        insert into resource_totals (tenant_id, resource, live, updated_at)
        select tenant_id, %L,
               coalesce(sum(sign) filter (where deleted_at is null and updated_at is not null), 0), clock_timestamp()
        from (%s) as change
        group by tenant_id
        on conflict (tenant_id, resource) do update
        set live = resource_totals.live + excluded.live, updated_at = excluded.updated_at
    $statement$, tg_table_name, changed_rows(tg_op));
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
