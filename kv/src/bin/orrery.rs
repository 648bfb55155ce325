#![doc = "Orrery."]
fn main() {}
