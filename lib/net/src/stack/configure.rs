//! A stack as a [`Config`] wants it.

use core::fmt;
use core::net::Ipv4Addr;

use alloc::string::String;

use crate::Instant;
use crate::config::{Config, InterfaceConfig};
use crate::iface::{IfaceId, Kind, Origin};
use crate::route::Route;
use crate::stack::Stack;

/// What of a configuration could not be done, and at which interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigureError {
    /// The interface's name.
    pub interface: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl fmt::Display for ConfigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network: \"net.{}\": {}", self.interface, self.reason)
    }
}

impl core::error::Error for ConfigureError {}

impl Stack {
    /// Sets interfaces up as configured; devices were added before. Those that are not named stay as they are. Stops at the first that
    /// cannot be as it should. Name servers are the resolver's business.
    pub fn configure(&mut self, config: &Config, now: Instant) -> Result<(), ConfigureError> {
        self.forwarding |= config.forwarding;
        let host_name = config.host_name.as_deref().unwrap_or("");
        for interface in &config.interfaces {
            self.configure_interface(interface, host_name, now)
                .map_err(|reason| ConfigureError { interface: interface.name(), reason })?;
        }
        Ok(())
    }

    /// The interface of this name.
    pub fn interface_named(&self, name: &str) -> Option<IfaceId> {
        self.interfaces().find(|(_, iface)| iface.name() == name).map(|(id, _)| id)
    }

    fn configure_interface(
        &mut self,
        config: &InterfaceConfig,
        host_name: &str,
        now: Instant,
    ) -> Result<(), &'static str> {
        let device = self.interface_named(&config.device);
        let is_device =
            |id: &IfaceId| self.interface(*id).is_some_and(|iface| iface.kind() == Kind::Ethernet);
        let device = device.filter(is_device).ok_or("the machine has no such network device")?;
        let iface = match config.vlan {
            None => device,
            Some(vlan) => self
                .add_vlan(config.name(), device, vlan)
                .map_err(|_| "the VLAN exists, or there are too many")?,
        };
        let link_mtu = self.interface(iface).map_or(0, |iface| iface.link().mtu);
        if config.mtu.is_some_and(|mtu| mtu > link_mtu) {
            return Err("mtu is more than the device takes");
        }
        self.set_mtu_limit(iface, config.mtu);
        self.set_probe_timing(iface, config.probe_timing());
        for &cidr in &config.addresses {
            self.add_address(iface, cidr, now).map_err(|_| "the address cannot be an interface's")?;
        }
        if let Some(gateway) = config.gateway {
            let default = Route {
                network: Ipv4Addr::UNSPECIFIED,
                prefix_len: 0,
                gateway: Some(gateway),
                iface,
                metric: 0,
                mtu: None,
                source: None,
                origin: Origin::Static,
            };
            if !self.add_route(default, now) {
                return Err("there are too many routes");
            }
        }
        if config.dhcp {
            self.start_dhcp(iface, host_name, None, now);
        }
        Ok(())
    }
}
