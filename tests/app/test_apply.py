"""``tenants apply``: a file's shops, added once, changed where they differ, and all or nothing of a file that is wrong."""

import pytest

from models import sync_runs, tenants
from models.database import transaction
from models.tenants import TenantStatus


@pytest.fixture
def apply(run, tmp_path):
    def apply(text, *options):
        file = tmp_path / "shops.csv"
        file.write_text(text)
        return run("tenants", "apply", str(file), *options)

    return apply


def tenant_of(domain):
    with transaction() as session:
        return tenants.of_domain(session, domain)


def test_shops_are_added_once_and_changed_where_they_differ(apply, new_domain):
    first, second = new_domain(), new_domain()
    text = (
        "shop_domain,access_token,client_id,client_secret,webhook_secret,sync\n"
        f"https://{first.upper()}/,shpat_one,,,whsec_one,\n"
        f"{second},,client-1,secret-1,,false\n"
    )
    # A dry run does nothing
    dry = apply(text, "--dry-run")
    assert (dry.exit_code, dry.output) == (0, f"{first}  would be added\n{second}  would be added\n")
    assert tenant_of(first) is None
    # The real one adds, and begins the sync of the one that wants it
    done = apply(text)
    assert done.exit_code == 0, done.output
    assert done.output.count("added  API token, shown this once: sst_") == 2
    assert "shpat_one" not in done.output
    with transaction() as session:
        assert [len(sync_runs.newest(session, tenant_of(each).id, limit=5)) for each in (first, second)] == [1, 0]
    assert tenant_of(second).client_secret.get_secret_value() == "secret-1"
    # Again it changes nothing
    assert apply(text).output == f"{first}  unchanged\n{second}  unchanged\n"
    # And what differs is changed
    changed = text.replace("shpat_one", "shpat_two").replace("client-1", "client-2")
    assert (
        apply(changed, "--dry-run").output
        == f"{first}  would change: credentials\n{second}  would change: credentials\n"
    )
    assert apply(changed.replace("whsec_one", "whsec_two")).output == (
        f"{first}  changed: credentials, webhook secret\n{second}  changed: credentials\n"
    )
    assert tenant_of(first).access_token.get_secret_value() == "shpat_two"
    # An empty cell leaves the webhook secret alone
    assert apply(changed.replace("whsec_one", "")).output == f"{first}  unchanged\n{second}  unchanged\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line must name columns"),
        ("domain,access_token\n", "the first line must name columns"),
        ("shop_domain,access_token,access_token\n", "each once"),
        ("shop_domain,access_token\na.myshopify.com\n", "line 2: it has not as many cells"),
        ("shop_domain,access_token\na.myshopify.com,x,y\n", "line 2: it has not as many cells"),
        ("shop_domain,access_token\nnowhere,shpat_secret\n", "line 2: shopDomain must be a shop's domain"),
        ("shop_domain,access_token\na.myshopify.com,\n", "line 2: accessToken, or clientId and clientSecret"),
        ("shop_domain,access_token,sync\na.myshopify.com,x,perhaps\n", "line 2: sync must be true or false"),
        ("shop_domain,access_token\na.myshopify.com,shpat secret\n", "line 2: accessToken must be"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing_and_says_where(apply, new_domain, text, said):
    domain = new_domain()
    refused = apply(text + (f"{domain},shpat_x\n" if text.count("\n") > 1 and "sync" not in text else ""))
    assert refused.exit_code == 1
    assert said in refused.output
    assert "secret" not in refused.output.replace("clientSecret", "").replace("client_secret", "").replace(
        "webhook_secret", ""
    )
    assert tenant_of(domain) is None


def test_a_shop_that_stands_twice_is_refused(apply, new_domain):
    domain = new_domain()
    refused = apply(f"shop_domain,access_token\n{domain},shpat_a\n{domain},shpat_b\n")
    assert (refused.exit_code, tenant_of(domain)) == (1, None)
    assert f"line 3: {domain} stands in an earlier line, too" in refused.output


def test_a_shop_that_comes_back_with_new_credentials_is_synced_for_what_it_missed(apply, new_domain):
    domain = new_domain()
    text = f"shop_domain,access_token,sync\n{domain},shpat_a,false\n"
    apply(text)
    with transaction() as session:
        tenants.get(session, tenant_of(domain).id, for_update=True).status = TenantStatus.UNINSTALLED
    assert apply(text.replace("shpat_a", "shpat_b")).output == f"{domain}  changed: credentials\n"
    assert tenant_of(domain).status == TenantStatus.ACTIVE
    with transaction() as session:
        assert [run.status for run in sync_runs.newest(session, tenant_of(domain).id, limit=5)] == ["running"]
