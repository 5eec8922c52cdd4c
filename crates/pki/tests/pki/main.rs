//! The PKI, one story a module, through its public surface.

#[cfg(test)]
mod algorithms;
mod authority;
#[cfg(test)]
mod crl;
#[cfg(test)]
mod csr;
#[cfg(test)]
mod door;
#[cfg(test)]
mod dpop;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod home;
#[cfg(test)]
mod leaf;
#[cfg(test)]
mod openssl;
#[cfg(test)]
mod rsa_leaf;
#[cfg(test)]
mod server;
#[cfg(test)]
mod shape;
