//! Many rows in few statements.

/// Cuts rows into batches of a few sizes, so that both engines know the statements that write them.
pub(super) fn batches<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (batch, rest) = rows.split_at(size);
        rows = rest;
        Some(batch)
    })
}

/// The places of their values: `($1, $2), ($3, $4)`.
pub(super) fn places(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places = (1..=columns).map(|column| format!("${}", row * columns + column));
        format!("({})", places.collect::<Vec<_>>().join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// Of the largest, 100 values each would be within what SQLite takes for one statement.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

#[cfg(test)]
mod tests {
    use super::{batches, places};

    #[test]
    fn every_row_is_in_one_batch_and_in_its_order() {
        let rows: Vec<usize> = (0..1_000).collect();
        for count in [0, 1, 3, 4, 255, 256, 257, 1_000] {
            let batches: Vec<&[usize]> = batches(&rows[..count]).collect();
            assert_eq!(batches.concat(), &rows[..count]);
            assert!(
                batches.len() <= 3 + count / 256 + 9,
                "{count}: {}",
                batches.len()
            );
        }
    }

    #[test]
    fn places_are_numbered_through_all_rows() {
        assert_eq!(places(1, 1), "($1)");
        assert_eq!(places(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
