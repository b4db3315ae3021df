// When a certificate is asked for again: after two thirds of its life, and after a failure later and later. Pure; the
// jitter is of the name, so that a restart changes nothing and boxes that began together do not ask together.
#pragma once

#include <optional>
#include <string_view>

#include "app/acme/session.hpp"
#include "wick/base/time.hpp"

namespace wick::app::acme {

/// Two thirds of the life in, and up to a twentieth of it later.
WallTime renewal_time(WallTime not_before, WallTime not_after, std::string_view host);

/// How long the n-th failure in a row (from 1) is waited out, a fifth more or less. What the authority asks for
/// (Retry-After) is a lower bound.
///
/// An authority that cannot be reached is asked again after 10 s, doubled up to 10 min. One that has refused is left
/// alone for longer, since failed validations are counted (Let's Encrypt: 5 an hour a name): 5 min, doubled up to 12 h.
seconds wait_after(const Failure& failure, int failures, std::string_view host);

}  // namespace wick::app::acme
