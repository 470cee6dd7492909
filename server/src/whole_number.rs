//! Whole numbers in bodies: `60`, and `60.0`, which is one too (JSON Schema 2020-12 §6.1.1).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// For a member that has to be there.
pub(crate) fn given<'de, D, N>(input: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i128>,
{
    Whole::deserialize(input).map(|Whole(number)| number)
}

/// For a member that may be left out, or `null`.
pub(crate) fn optional<'de, D, N>(input: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i128>,
{
    let number: Option<Whole<N>> = Deserialize::deserialize(input)?;
    Ok(number.map(|Whole(number)| number))
}

/// For a member whose `null` says something else than its absence.
pub(crate) fn named<'de, D, N>(input: D) -> Result<Option<Option<N>>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i128>,
{
    optional(input).map(Some)
}

struct Whole<N>(N);

impl<'de, N: TryFrom<i128>> Deserialize<'de> for Whole<N> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Number(PhantomData))
    }
}

struct Number<N>(PhantomData<N>);

impl<N: TryFrom<i128>> Visitor<'_> for Number<N> {
    type Value = Whole<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number in bounds")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole<N>, E> {
        let whole = N::try_from(number.into());
        whole
            .map(Whole)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole<N>, E> {
        let whole = N::try_from(number.into());
        whole
            .map(Whole)
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it has no fraction, and what is too large saturates out of bounds"
    )]
    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole<N>, E> {
        let wrong = || E::invalid_value(Unexpected::Float(number), &self);
        if number.fract() != 0.0 {
            return Err(wrong());
        }
        N::try_from(number as i128).map(Whole).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<u32> {
        given(&mut serde_json::Deserializer::from_str(text)).ok()
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (text, number) in [("60", 60), ("60.0", 60), ("6e1", 60), ("0", 0)] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in [
            "60.5",
            "-1",
            "-1.0",
            "4294967296",
            "1e300",
            "\"60\"",
            "null",
            "true",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_left_out_and_what_is_null_differ() {
        let named =
            |text: &str| named::<_, i32>(&mut serde_json::Deserializer::from_str(text)).unwrap();
        assert_eq!((named("null"), named("3.0")), (Some(None), Some(Some(3))));
    }
}
