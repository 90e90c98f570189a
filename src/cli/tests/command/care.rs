//! What fills the disk, and what may go.

use store::Store;

use super::env::Env;
use super::library::lineage;
use super::records::recorded;

#[test]
fn what_nothing_names_is_collected() {
    let env = Env::new();
    let versions = lineage(&env);
    let run = recorded(&env, 0).to_string();
    let store = Store::ensure(&env.home().join("store")).unwrap();
    store.put(b"left over").unwrap();
    drop(store);

    let stats = env.run(["stats", "--json"]).status(0).json();
    assert_eq!(
        (&stats["names"], &stats["versions"], &stats["runs"]),
        (&1.into(), &3.into(), &1.into())
    );
    assert_eq!(stats["unnamed"]["bytes"], 9);
    assert_eq!(stats["largest"][0]["name"], "counter");
    let parts = ["of_versions", "of_runs", "of_cassettes", "unnamed"];
    let parts = parts
        .iter()
        .map(|part| stats[part]["bytes"].as_u64().unwrap());
    assert_eq!(stats["content"]["bytes"], parts.sum::<u64>());

    // It may be an interrupted task's.
    let young = env.run(["gc", "--json"]).status(0).json();
    assert_eq!(
        (&young["removed"]["blobs"], &young["young"]["bytes"]),
        (&0.into(), &9.into())
    );
    let dry = env
        .run(["gc", "--grace", "0s", "--dry-run", "--json"])
        .status(0)
        .json();
    assert_eq!(
        (&dry["dry_run"], &dry["removed"]["bytes"]),
        (&true.into(), &9.into())
    );
    let told = env.run(["gc", "--grace", "0s"]).status(0).stdout;
    assert!(told.starts_with("removed 1 blob (9)"), "{told}");

    let runs = env
        .run(["gc", "--runs-older-than", "0s", "--json"])
        .status(0)
        .json();
    assert_eq!((&runs["runs"], &runs["versions"]), (&1.into(), &0.into()));
    env.run(["runs", "show", &run]).status(3);
    env.run(["show", &format!("counter@{}", versions[0])])
        .status(0);
    env.run(["fsck"]).status(0);
    let text = env.run(["stats"]).status(0).stdout;
    assert!(
        text.contains("1 subagent, 3 versions, 3 operations, 0 runs"),
        "{text}"
    );
    env.run(["gc", "--runs-older-than", "1w"]).status(2);
}

#[test]
fn subagents_are_found_and_the_indexes_made_anew() {
    let env = Env::new();
    let versions = lineage(&env);
    let found = env
        .run(["search", "cuonts to 3", "--json"])
        .status(0)
        .json();
    assert_eq!(found["subagents"][0]["name"], "counter");
    assert_eq!(found["subagents"][0]["version"], versions[2].to_string());
    let made = env.run(["reindex", "--json"]).status(0).json();
    assert_eq!(
        (&made["operations"], &made["subagents"]),
        (&3.into(), &1.into())
    );
    let none = env.run(["search", "quantum"]).status(0);
    assert_eq!(none.stdout, "");
}
