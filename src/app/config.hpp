// Everything `wick serve` and `wick runner` can be told, in one value: flag > environment WICK_* > default.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "app/image_space.hpp"
#include "wick/base/error.hpp"
#include "wick/build/base_choice.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/http/server.hpp"
#include "wick/image/registry_settings.hpp"

namespace wick::app {

enum class OnStop {
  stop,  // SIGTERM ends the instances too: nothing is left of a stopped daemon
  keep,  // they go on and the next daemon adopts them: what a service unit wants for upgrades
};

/// Certificates from an authority (RFC 8555) for mapped names that bring none.
struct AcmeSettings {
  static constexpr std::string_view lets_encrypt = "https://acme-v02.api.letsencrypt.org/directory";
  std::string directory;  // empty: off
  std::string email;
  bool agrees_to_terms = false;
  std::filesystem::path authority;  // PEM, trusted besides the machine's own
  std::string external_account;     // what the authority calls an account that it has given out; empty: none …
  std::filesystem::path external_account_key;  // … and its key, base64url
  std::vector<std::string> challenges;         // empty: http-01 and tls-alpn-01; with a hook dns-01
  std::string hook;                            // sets records for dns-01
};

/// One more listener for requests to services.
struct MoreListening {
  std::string address;
  bool https = false;
  bool proxy_header = false;  // of the PROXY protocol
};

struct Config {
  std::filesystem::path state = "/var/lib/wick";
  std::filesystem::path run = "/run/wick";
  std::string listen = "127.0.0.1:8080";
  std::string https_listen;  // empty: https is not spoken
  std::vector<MoreListening> also_listen;
  std::filesystem::path tls_certificates = "/etc/wick/tls";  // NAME.crt and NAME.key; see https.hpp
  std::string events_listen = "127.0.0.1:8081";
  std::string api_listen;            // loopback only; empty: 127.0.0.1:6443 where that is free, else a port that is
  std::filesystem::path secret_key;  // empty: see secret_key.hpp
  AcmeSettings acme;
  std::string domain = "localhost";
  std::filesystem::path builders = "/etc/wick/builders";  // a person's own, over the built-in ones
  build::BaseChoice bases = build::BaseChoice::automatic;
  std::string runtime = "runc";
  std::vector<container::RuntimeClass> runtime_classes;  // what runtimeClassName may name beside runc and crun
  std::string runner_socket;                             // of a runner that has its own unit; empty: fork one
  OnStop on_stop = OnStop::stop;
  std::chrono::milliseconds linger{
      0};                     // a front that another takes over from relays what flows for so long; 0: none does
  std::size_t loops = 0;      // that answer requests; 0: one a core
  http::ServerLimits limits;  // of the edge
  http::TrustedProxies trusted_proxies;
  bool proxy_header = false;  // of the PROXY protocol, on the listeners of services
  ImageLimits image_limits;
  image::RegistrySettings registries;
  std::uint64_t sleep_memory = 0;  // bytes for frozen instances and spares; 0: a fifth of the machine's
  bool log_json = false;
  bool allow_zero_initial_scale = false;
  std::filesystem::path access_log;  // empty: none
  bool help = false;
  bool end_all = false;   // wick runner: no front, only an end of what runs
  bool make_key = false;  // wick runner: no front, only open_vault()
  int runner_fd = -1;     // wick runner: the inherited socket
  int shelf_in = -1;      // wick runner: the inherited ends of a shelf
  int shelf_out = -1;
  long front_uid = -1;  // wick runner: who may talk to it
  long front_gid = -1;

  std::filesystem::path api_socket() const { return run / "wick.sock"; }
};

/// "auto", "debian", "registry".
std::string_view to_text(build::BaseChoice bases);

/// argv[0] is the role's name. Errors: invalid, naming the flag.
Result<Config> parse_config(int argc, char** argv);
std::string config_help(std::string_view role);

}  // namespace wick::app
