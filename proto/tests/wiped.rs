//! Every type that holds a secret wipes itself on drop; this does not compile where one does not.

use postern_proto::{
    Code, CodeKey, HintKey, KeyMaterial, KeyText, MacKey, OpenBuffer, PresharedKey, PrivateKey, SealKey, SharedKey, UserKeys,
};
use zeroize::ZeroizeOnDrop;

fn wipes_itself<T: ZeroizeOnDrop>() {
    assert!(std::mem::needs_drop::<T>(), "{} says so and does nothing", std::any::type_name::<T>());
}

#[test]
fn every_type_with_a_secret_in_it_wipes_itself_on_drop() {
    wipes_itself::<SharedKey>();
    wipes_itself::<PresharedKey>();
    wipes_itself::<PrivateKey>();
    wipes_itself::<KeyText>();
    wipes_itself::<KeyMaterial>();
    wipes_itself::<UserKeys>();
    wipes_itself::<HintKey>();
    wipes_itself::<SealKey>();
    wipes_itself::<MacKey>();
    wipes_itself::<CodeKey>();
    wipes_itself::<Code>();
    wipes_itself::<OpenBuffer>();
}
