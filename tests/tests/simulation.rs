//! Seeded simulations for whoever runs plain `cargo test`.

use std::process::{Command, Stdio};

#[test]
fn a_short_sweep_of_seeded_simulations_holds() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        // They would override the flags of the alias.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["sim", "--seeds", "20", "--json"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    let swept: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(swept["seeds"], 20);
}
