//! The stories: what people, agents and tools do, through the real programs, on both engines.
//!
//! One program, so that they share one private PostgreSQL. Searching memory needs root and is a
//! program of its own.

mod accounts;
mod alerts;
mod approval;
mod audit;
mod audit_command;
mod authentications;
mod bad_input;
mod balancers;
mod bounds;
mod budgets;
mod certificates;
mod cli;
mod client_certificates;
mod clock;
mod closed_accounts;
mod crash;
mod deployment;
mod direct;
mod disk;
mod enrolment;
mod events;
mod failover;
mod faults;
mod harness;
mod host_channel;
mod hs256;
mod identity;
mod mail;
mod newcomer;
mod openapi;
mod operator;
mod operators;
mod outages;
mod policy;
mod protection;
mod providers;
mod proxy;
mod races;
mod redis_cluster;
mod renewal;
mod replicas;
mod rotation_and_revocation;
mod schema;
mod self_service;
mod sessions;
mod sweep;
mod switches;
mod team;
mod tenants;
mod terminal;
mod thread;
mod traces;
mod web;
