//! Members of requests of which `null` says something else than their absence.

use serde::{Deserialize, Deserializer};

/// A member that may be null is not one that is left out.
pub(crate) fn named<'de, D, T>(input: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Deserialize::deserialize(input).map(Some)
}
