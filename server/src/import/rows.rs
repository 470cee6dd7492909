//! Rows of the other system, read cell by cell: one that cannot be read is left out, and the others
//! are taken.

use std::fmt::Write;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::layout::Layout;
use super::state::{Told, shown, yes_or_no};

/// A user of the other system.
pub(super) struct ForeignUser {
    pub(super) id: String,
    pub(super) username: Option<String>,
    pub(super) email: Option<String>,
    pub(super) password_hash: Option<String>,
    pub(super) full_name: Option<String>,
    pub(super) verified: bool,
    pub(super) told: Vec<Told>,
}

/// A key of the other system.
pub(super) struct ForeignKey {
    pub(super) id: String,
    pub(super) user: Option<String>,
    pub(super) name: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) token: Option<String>,
    pub(super) told: Vec<Told>,
}

/// A row that cannot be read.
pub(super) struct Unread {
    pub(super) id: String,
    pub(super) reason: String,
}

/// What came of reading a row.
pub(super) type Reading<T> = Result<Result<T, Unread>, sqlx::Error>;

/// A column and what it holds.
type Cell = (String, Option<Vec<u8>>);

/// One row, and which of its cells is what.
pub(super) struct Cells<'a> {
    pub(super) layout: &'a Layout,
    pub(super) row: &'a PgRow,
}

impl ForeignUser {
    pub(super) fn read(cells: &Cells<'_>) -> Reading<Self> {
        cells.read(|id, cells| {
            let verified = cells.text("verified")?;
            Ok(Self {
                id,
                username: cells.text("username")?,
                email: cells.text("email")?,
                password_hash: cells.text("password_hash")?,
                full_name: cells.text("full_name")?,
                verified: verified.and_then(|text| yes_or_no(&text)).unwrap_or(false),
                told: cells.told()?,
            })
        })
    }
}

impl ForeignKey {
    pub(super) fn read(cells: &Cells<'_>) -> Reading<Self> {
        cells.read(|id, cells| {
            Ok(Self {
                id,
                user: cells.id("user")?,
                name: cells.text("name")?,
                provider: cells.text("provider")?,
                token: cells.text("token")?,
                told: cells.told()?,
            })
        })
    }
}

/// Why a cell could not be read.
enum Fault {
    Database(sqlx::Error),
    Row(String),
}

impl Cells<'_> {
    fn read<T>(&self, read: impl FnOnce(String, &Self) -> Result<T, Fault>) -> Reading<T> {
        let id = self.id("id").and_then(|id| {
            id.filter(|id| !id.is_empty())
                .ok_or_else(|| Fault::Row("it has no id".to_owned()))
        });
        let known = id.as_ref().ok().cloned();
        match id.and_then(|id| read(id, self)) {
            Ok(read) => Ok(Ok(read)),
            Err(Fault::Database(cause)) => Err(cause),
            Err(Fault::Row(reason)) => Ok(Err(Unread {
                id: known.unwrap_or_else(|| "?".to_owned()),
                reason,
            })),
        }
    }

    /// An id; one that is no text, in hexadecimal.
    fn id(&self, field: &str) -> Result<Option<String>, Fault> {
        let Some((_, bytes)) = self.cells(field)?.into_iter().next() else {
            return Ok(None);
        };
        let id = bytes.map(|bytes| match String::from_utf8(bytes) {
            Ok(text) if !text.chars().any(char::is_control) => text,
            Ok(text) => hexadecimal(text.as_bytes()),
            Err(other) => hexadecimal(other.as_bytes()),
        });
        match id {
            Some(id) if id.len() > LONGEST_ID => {
                let id = shown(Some(&id));
                Err(Fault::Row(format!("its {field} is too long: {id}")))
            }
            id => Ok(id),
        }
    }

    fn text(&self, field: &str) -> Result<Option<String>, Fault> {
        let cell = self.cells(field)?.into_iter().next();
        cell.map_or(Ok(None), |(column, bytes)| text(&column, bytes))
    }

    fn told(&self) -> Result<Vec<Told>, Fault> {
        let mut told = Vec::new();
        for (field, _) in super::state::STATES {
            for (column, bytes) in self.cells(field)? {
                let value = text(&column, bytes)?;
                told.push(Told {
                    field,
                    column,
                    value,
                });
            }
        }
        Ok(told)
    }

    /// The columns of a field, and what they hold.
    fn cells(&self, field: &str) -> Result<Vec<Cell>, Fault> {
        let columns = self.layout.columns().iter().enumerate();
        let of_field = columns.filter(|(_, used)| used.field == field);
        let read = of_field.map(|(place, used)| {
            let bytes = self.row.try_get(place).map_err(Fault::Database)?;
            Ok((used.name.clone(), bytes))
        });
        read.collect()
    }
}

fn text(column: &str, bytes: Option<Vec<u8>>) -> Result<Option<String>, Fault> {
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|_| Fault::Row(format!("its {column} is no text in UTF-8")))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Longer ones would not fit into an index.
const LONGEST_ID: usize = 512;
