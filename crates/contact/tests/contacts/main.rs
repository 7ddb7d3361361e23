//! Contacts of two and three people through relays in memory, under a virtual clock.

mod crash;
mod happy;
mod schedules;
mod support;
