//! The quiet beginning: accounts, sessions, contacts, all through the calls that people make.

use std::rc::Rc;
use std::time::Duration;

use penpal_local_api::account::RegisterRequest;
use penpal_local_api::caller::Caller;
use penpal_local_api::contacts::{AddRequest, ContactState, InviteRequest, ListRequest, NameRequest};
use penpal_local_api::methods::{
    Call, ContactAccept, ContactAdd, ContactInvite, ContactList, Register, SessionOpen,
};
use penpal_local_api::sessions::OpenRequest;
use penpal_relay::{AdminAnswer, AdminRequest};
use tokio::time::sleep;

use super::World;
use super::devices::FIRST;

/// How often a person looks whether something has come.
const LOOK: Duration = Duration::from_millis(200);

/// How often at most.
const LOOKS: usize = 300;

impl World {
    pub(super) async fn get_acquainted(self: Rc<Self>) -> Result<(), String> {
        for relay in &self.relays {
            relay.start()?;
        }
        for (number, home) in self.plan.homes.clone().into_iter().enumerate() {
            self.node(number).start()?;
            self.register(number, home).await?;
        }
        for (first, second) in self.plan.pairs.clone() {
            self.meet(first, second).await.map_err(|error| format!("p{first} meets p{second}: {error}"))?;
        }
        for (number, second) in self.plan.seconds.clone().into_iter().enumerate() {
            let machine = self.plan.homes.len() + number;
            self.node(machine).start()?;
            if second.at_ms.is_some() {
                continue;
            }
            self.link(machine).await.map_err(|error| format!("m{machine} of p{}: {error}", second.of))?;
            for (a, b) in self.plan.pairs.clone() {
                if a == second.of || b == second.of {
                    let other = if a == second.of { b } else { a };
                    self.until(machine, other, ContactState::Active).await?;
                }
            }
        }
        Ok(())
    }

    async fn register(&self, number: usize, home: usize) -> Result<(), String> {
        let relay = &self.relays[home];
        let request = AdminRequest::TokenNew { note: String::new(), life_ms: 86_400_000, uses: 1 };
        let Some(AdminAnswer::TokenNew { token, .. }) = relay.admin(request).await else {
            return Err("no token".to_owned());
        };
        let node = self.node(number);
        let request = RegisterRequest {
            caller: Caller::default(),
            address: relay.address.to_string(),
            handle: node.name.clone(),
            device: Some(FIRST.to_owned()),
            token: Some(token),
        };
        node.call::<Register>(Call::Register(request)).await.map_err(|error| error.to_string())?;
        let request = OpenRequest { caller: Caller::default(), name: self.canary.clone(), agent: None };
        node.call::<SessionOpen>(Call::SessionOpen(request)).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    async fn meet(&self, first: usize, second: usize) -> Result<(), String> {
        let (inviter, invited) = (self.node(first), self.node(second));
        let request =
            InviteRequest { caller: Caller::default(), life_ms: None, count: None, auto_accept: false };
        let invites = inviter.call::<ContactInvite>(Call::ContactInvite(request)).await;
        let code = invites.map_err(|error| error.to_string())?.code;
        let request = AddRequest { caller: Caller::default(), code, handle: None, device: None, wait_ms: 0 };
        invited.call::<ContactAdd>(Call::ContactAdd(request)).await.map_err(|error| error.to_string())?;
        self.until(first, second, ContactState::PendingIn).await?;
        let request = NameRequest { caller: Caller::default(), name: invited.name.clone() };
        let accepted = inviter.call::<ContactAccept>(Call::ContactAccept(request)).await;
        accepted.map_err(|error| error.to_string())?;
        self.until(first, second, ContactState::Active).await?;
        self.until(second, first, ContactState::Active).await
    }

    async fn until(&self, who: usize, whom: usize, state: ContactState) -> Result<(), String> {
        let name = self.node(whom).name.clone();
        for _ in 0..LOOKS {
            let request = ListRequest { caller: Caller::default() };
            let list = self.node(who).call::<ContactList>(Call::ContactList(request)).await;
            let list = list.map_err(|error| error.to_string())?;
            if list.contacts.iter().any(|row| row.handle == name && row.state == state) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("p{who} does not see p{whom} as {state:?}"))
    }
}
