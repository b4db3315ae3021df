// What every verb is handed.
#pragma once

#include <string>

#include "app/cli/client.hpp"
#include "app/cli/terminal.hpp"

namespace wick::app::cli {

struct Session {
  Terminal& terminal;
  Client& client;
  std::string name_space = "default";
  bool json = false;
};

/// One document on stdout.
inline void print_document(Session& session, const json::value& document) {
  session.terminal.result_bytes(pretty(document));
}

}  // namespace wick::app::cli
