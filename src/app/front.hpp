// The front, composed: every object built once, handed its collaborators, started in order and stopped in reverse.
#pragma once

#include <memory>
#include <vector>

#include "app/config.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"
#include "wick/store/vault.hpp"

namespace wick::app {

/// What had to be opened before the rights were given up.
struct FrontSockets {
  Fd http;
  Fd https;  // may be empty
  Fd events;
  Fd api;         // the unix socket
  Fd api_tcp;     // may be empty
  Fd runner;      // connected to the runner
  Fd access_log;  // empty where none is wanted
  struct More {
    Fd fd;
    bool https = false;
    bool proxy_header = false;
  };
  std::vector<More> more;  // for services, beside `http` and `https`
  Fd guard;                // the line to it (guard.hpp); empty where there is none
};

/// Runs until SIGTERM or SIGINT, then drains. The exit code of the process.
int run_front(const Config& config, FrontSockets sockets, std::shared_ptr<const store::Vault> vault);

/// Where the front keeps what is its own, below the state folder (the runner's part is beside it, root's alone).
std::filesystem::path front_folder(const Config& config);

}  // namespace wick::app
