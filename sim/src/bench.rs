//! B.
/// b
pub fn command(_json: bool) -> anyhow::Result<bool> {
    Ok(true)
}
