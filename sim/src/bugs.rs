//! B.
/// b
pub fn command(_o: Option<&str>, _json: bool) -> anyhow::Result<bool> {
    Ok(true)
}
