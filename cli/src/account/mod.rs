//! Becoming signed in, and ceasing to be.

mod change;
mod change_password;
mod close;
mod contact;
mod mailed;
mod provider;
mod register;
mod show;
mod sign_in;
mod sign_out;

pub(crate) use change::{Wanted, change};
pub(crate) use change_password::change_password;
pub(crate) use close::close;
pub(crate) use mailed::{forgot, resend, reset, verify};
pub(crate) use register::register;
pub(crate) use show::{export, show};
pub(crate) use sign_in::sign_in;
pub(crate) use sign_out::sign_out;
