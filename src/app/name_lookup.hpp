// Where a name of DNS leads, as this machine sees it, and whether that is here.
#pragma once

#include <string>
#include <vector>

namespace wick::app {

struct NameView {
  std::string name;
  std::vector<std::string> leads_to;  // addresses, each once
  std::string problem;                // why there are none, in the resolver's words
  std::vector<std::string> ours;      // addresses of our interfaces; no loopback, none of one link only
};

/// Blocks: asks the resolver and the kernel.
NameView look_up_name(const std::string& name);
/// One of the addresses is ours, or loopback.
bool leads_here(const NameView& view);
/// Our addresses are all private ones (RFC 1918, RFC 4193, RFC 6598): others may reach us by one that we do not know.
bool is_behind_nat(const NameView& view);
/// "shop.example.com leads to 203.0.113.9; this machine has 198.51.100.7".
std::string describe(const NameView& view);

}  // namespace wick::app
