//! Contacts of two and three people through relays in memory, under a virtual clock.

mod crash;
mod flows;
mod happy;
mod hostile;
mod people;
mod schedules;
mod support;
