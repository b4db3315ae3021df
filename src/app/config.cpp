#include "app/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <ranges>

#include "wick/base/text.hpp"
#include "wick/base/time.hpp"

namespace wick::app {

using namespace std::string_view_literals;

namespace {

struct Flag {
  std::string_view name;
  std::string_view value;  // empty: takes none
  std::string help;
  std::function<Result<void>(Config&, std::string_view)> set;
};

template <class T>
auto store(T Config::* member) {
  return [member](Config& config, std::string_view text) -> Result<void> {
    config.*member = std::string(text);
    return {};
  };
}

auto number(auto Config::* member) {
  return [member](Config& config, std::string_view text) -> Result<void> {
    const auto value = parse_unsigned(text);
    if (!value || *value > 0xFFFFFFFE)
      return fail(Errc::invalid, fmt::format("expected a number, found '{}'", printable(text)));
    config.*member = static_cast<std::remove_reference_t<decltype(config.*member)>>(*value);
    return {};
  };
}

Result<void> set_acme_directory(Config& config, std::string_view text) {
  if (!text.starts_with("https://"))
    return fail(Errc::invalid, fmt::format("expected an https:// URL, found '{}'", printable(text)));
  config.acme.directory = text;
  return {};
}

void begin_acme(Config& config) {
  if (config.acme.directory.empty()) config.acme.directory = AcmeSettings::lets_encrypt;
}

Result<void> set_acme_email(Config& config, std::string_view text) {
  const auto at = text.find('@');
  if (at == 0 || at == std::string_view::npos || at + 1 == text.size() || text.find_first_of(" ,<>") != text.npos)
    return fail(Errc::invalid, fmt::format("expected an address like you@example.com, found '{}'", printable(text)));
  config.acme.email = text;
  begin_acme(config);
  return {};
}

Result<void> set_acme_challenges(Config& config, std::string_view text) {
  config.acme.challenges.clear();
  for (const auto type : split(text, ',')) {
    if (type != "http-01" && type != "tls-alpn-01" && type != "dns-01")
      return fail(Errc::invalid, fmt::format("expected http-01, tls-alpn-01 or dns-01, found '{}'", printable(type)));
    config.acme.challenges.emplace_back(type);
  }
  return {};
}

auto turn_on(bool Config::* member) {
  return [member](Config& config, std::string_view) -> Result<void> {
    config.*member = true;
    return {};
  };
}

Result<void> set_on_stop(Config& config, std::string_view text) {
  if (text != "stop" && text != "keep")
    return fail(Errc::invalid, fmt::format("expected stop or keep, found '{}'", printable(text)));
  config.on_stop = text == "keep" ? OnStop::keep : OnStop::stop;
  return {};
}

/// Several are separated by ';'.
Result<void> add_listeners(Config& config, std::string_view text) {
  for (const auto entry : split(text, ';')) {
    const auto words = split(trim(entry), ',');
    MoreListening listening{.address = std::string(words.front())};
    for (const auto word : words | std::views::drop(1)) {
      if (word != "https" && word != "proxy-protocol")
        return fail(Errc::invalid, fmt::format("expected ADDR[,https][,proxy-protocol], found '{}'", printable(word)));
      (word == "https" ? listening.https : listening.proxy_header) = true;
    }
    if (listening.address.empty())
      return fail(Errc::invalid, fmt::format("expected ADDR[,https][,proxy-protocol], found '{}'", printable(entry)));
    config.also_listen.push_back(std::move(listening));
  }
  return {};
}

Result<void> set_linger(Config& config, std::string_view text) {
  auto limit = parse_go_duration(text);
  if (!limit || limit->count() < 0)
    return fail(Errc::invalid, fmt::format("expected a time like 90s, 10m or 1h, found '{}'", printable(text)));
  config.linger = *limit;
  return {};
}

Result<void> set_loops(Config& config, std::string_view text) {
  constexpr std::uint64_t loops_max = 256;
  const auto value = parse_unsigned(text);
  if (!value || *value == 0 || *value > loops_max)
    return fail(Errc::invalid, fmt::format("expected 1 to {}, found '{}'", loops_max, printable(text)));
  config.loops = *value;
  return {};
}

Result<void> set_bases(Config& config, std::string_view text) {
  for (const auto choice : {build::BaseChoice::automatic, build::BaseChoice::debian, build::BaseChoice::registry})
    if (text == to_text(choice)) {
      config.bases = choice;
      return {};
    }
  return fail(Errc::invalid, fmt::format("expected auto, debian or registry, found '{}'", printable(text)));
}

Result<void> set_limits(Config& config, std::string_view text) {
  while (!text.empty()) {
    const auto comma = text.find(',');
    if (auto set = http::set_limit(config.limits, text.substr(0, comma)); !set) return set;
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return {};
}

Result<void> set_trusted_proxies(Config& config, std::string_view text) {
  auto proxies = http::TrustedProxies::parse(text);
  if (!proxies) return fail(std::move(proxies.error()));
  config.trusted_proxies = std::move(*proxies);
  return {};
}

Result<void> set_sleep_memory(Config& config, std::string_view text) {
  constexpr std::uint64_t mib_max = 1 << 24;
  const auto value = parse_unsigned(text);
  if (!value || *value == 0 || *value > mib_max)
    return fail(Errc::invalid, fmt::format("expected 1 to {} MiB, found '{}'", mib_max, printable(text)));
  config.sleep_memory = *value << 20;
  return {};
}

auto space_limit(SpaceLimit ImageLimits::* member) {
  return [member](Config& config, std::string_view text) -> Result<void> {
    auto limit = SpaceLimit::parse(text);
    if (!limit) return fail(std::move(limit.error()));
    config.image_limits.*member = *limit;
    return {};
  };
}

/// Several are separated by ';'.
auto registry_setting(Result<void> (image::RegistrySettings::*add)(std::string_view)) {
  return [add](Config& config, std::string_view text) -> Result<void> {
    for (const auto entry : split(text, ';'))
      if (auto added = (config.registries.*add)(trim(entry)); !added) return added;
    return {};
  };
}

Result<void> set_insecure_registries(Config& config, std::string_view text) {
  for (const auto host : split(text, ',')) {
    if (host.empty() || host.contains('/'))
      return fail(Errc::invalid, fmt::format("expected HOST[:PORT],…, found '{}'", printable(text)));
    config.registries.insecure.emplace(host);
  }
  return {};
}

Result<void> set_registry_auth(Config& config, std::string_view text) {
  config.registries.credentials = text;
  return {};
}

/// "gvisor=/usr/bin/runsc --network=host"; several are separated by ';'.
Result<void> add_runtime_classes(Config& config, std::string_view text) {
  for (const auto entry : split(text, ';')) {
    const auto equals = entry.find('=');
    std::vector<std::string> words;
    if (equals != std::string_view::npos)
      for (const auto word : split(trim(entry.substr(equals + 1)), ' '))
        if (!word.empty()) words.emplace_back(word);
    const std::string name(trim(entry.substr(0, equals)));
    if (words.empty() || !is_dns_label(name) || name.size() > 28)
      return fail(Errc::invalid,
                  fmt::format("expected NAME=PROGRAM [FLAG…] with a name of [a-z0-9-], found '{}'", printable(entry)));
    config.runtime_classes.push_back(
        {.name = name, .program = words.front(), .flags = {words.begin() + 1, words.end()}});
  }
  return {};
}

const std::vector<Flag>& flags() {
  static const std::vector<Flag> all{
      {"state", "DIR", "what must survive: databases, images, logs (default /var/lib/wick)", store(&Config::state)},
      {"run", "DIR", "sockets and what a reboot may take (default /run/wick)", store(&Config::run)},
      {"listen", "ADDR", "where requests come in (default 127.0.0.1:8080)", store(&Config::listen)},
      {"https-listen", "ADDR", "where requests come in over TLS, e.g. 0.0.0.0:443 (default none)",
       store(&Config::https_listen)},
      {"also-listen", "ADDR[,https][,proxy-protocol]",
       "one more for services, e.g. [::]:80, unix:/run/wick/edge.sock or 10.0.0.1:8443,https,proxy-protocol; may be "
       "repeated",
       add_listeners},
      {"tls-certificates", "DIR",
       "NAME.crt beside NAME.key, looked at again as they change; other names get one of the box's own authority "
       "(default /etc/wick/tls)",
       store(&Config::tls_certificates)},
      {"acme", "",
       "certificates for mapped domains (wick domain add) from Let's Encrypt; needs --https-listen and "
       "--acme-agree-tos",
       [](Config& config, std::string_view) -> Result<void> {
         begin_acme(config);
         return {};
       }},
      {"acme-directory", "URL", "from this authority instead (RFC 8555)", set_acme_directory},
      {"acme-email", "ADDR", "where the authority may write to; --acme is then on", set_acme_email},
      {"acme-agree-tos", "", "you agree to the authority's terms of service",
       [](Config& config, std::string_view) -> Result<void> {
         config.acme.agrees_to_terms = true;
         return {};
       }},
      {"acme-ca", "FILE", "PEM of what vouches for the authority's own server (default what the machine trusts)",
       [](Config& config, std::string_view text) -> Result<void> {
         config.acme.authority = text;
         return {};
       }},
      {"acme-eab-id", "ID", "the account that the authority gave you (external account binding); with --acme-eab-key",
       [](Config& config, std::string_view text) -> Result<void> {
         config.acme.external_account = text;
         return {};
       }},
      {"acme-eab-key", "FILE", "its HMAC key, as the authority gives it out (base64url)",
       [](Config& config, std::string_view text) -> Result<void> {
         config.acme.external_account_key = text;
         return {};
       }},
      {"acme-challenge", "TYPE,…",
       "how the authority is shown that a name is ours, the next one where one fails (default http-01,tls-alpn-01)",
       set_acme_challenges},
      {"acme-hook", "PROGRAM",
       "called with present|cleanup _acme-challenge.NAME. VALUE to set records, as lego's exec is; --acme-challenge is "
       "then dns-01",
       [](Config& config, std::string_view text) -> Result<void> {
         config.acme.hook = text;
         return {};
       }},
      {"events-listen", "ADDR", "where CloudEvents come in, POST /NAMESPACE/BROKER (default 127.0.0.1:8081)",
       store(&Config::events_listen)},
      {"api-listen", "ADDR",
       "where kubectl and kn come in, with a token of wick kubeconfig; loopback only, none for no TCP "
       "(default 127.0.0.1:6443, or a free port)",
       store(&Config::api_listen)},
      {"secret-key", "FILE", "what Secrets are encrypted with (default /etc/wick/secret.key, made by root)",
       store(&Config::secret_key)},
      {"domain", "NAME", "services are NAME.NAMESPACE.DOMAIN (default localhost)", store(&Config::domain)},
      {"builders", "DIR", "builder files of your own, over the built-in ones (default /etc/wick/builders)",
       store(&Config::builders)},
      {"bases", "auto|debian|registry",
       "what builders start with: Debian's packages, the language's image of a registry, or that only for versions "
       "which Debian has not (default auto)",
       set_bases},
      {"runtime", "PATH", "the OCI runtime (default runc)", store(&Config::runtime)},
      {"runtime-class", "NAME=PROGRAM", "what runtimeClassName NAME runs with, flags after PROGRAM; may be repeated",
       add_runtime_classes},
      {"runner", "SOCKET", "talk to a runner that has its own unit; default is to fork one",
       store(&Config::runner_socket)},
      {"on-stop", "stop|keep", "what SIGTERM does to running instances (default stop)", set_on_stop},
      {"linger", "TIME",
       "WebSockets and streams of before an upgrade (SIGUSR2; SIGTERM with --on-stop keep) go on beside the new daemon "
       "for at most so long, e.g. 1h (default 0: they are waited for, 75 s)",
       set_linger},
      {"loops", "N", "threads that answer requests (default: one a core)", set_loops},
      {"limit", "NAME=N,…", "limits of the edge: " + http::limit_names(), set_limits},
      {"trusted-proxies", "NET,…",
       "whose Forwarded and X-Forwarded-* are taken, e.g. 10.0.0.0/8,unix (default nobody's)", set_trusted_proxies},
      {"proxy-protocol", "",
       "the trusted proxies alone connect, and begin with a header of the PROXY protocol (1 or 2)",
       turn_on(&Config::proxy_header)},
      {"sleep-memory", "MIB", "what frozen instances and spares may take together (default a fifth of the memory)",
       set_sleep_memory},
      {"image-use-max", "SIZE|SHARE%",
       "what images may use, build cache first to go (default 50% of the file system); see wick image gc",
       space_limit(&ImageLimits::use_max)},
      {"image-free-min", "SIZE|SHARE%", "what images leave free for others (default 10%, at most 10G)",
       space_limit(&ImageLimits::free_min)},
      {"registry-auth", "FILE", "docker's config.json: credentials for registries, for all services (default none)",
       set_registry_auth},
      {"registry-mirror", "REGISTRY=URL,…",
       "asked before the registry, e.g. docker.io=https://mirror.example; may be repeated",
       registry_setting(&image::RegistrySettings::add_mirrors)},
      {"registry-ca", "HOST=FILE", "an authority (PEM) that vouches for this registry; may be repeated",
       registry_setting(&image::RegistrySettings::add_authority)},
      {"registry-insecure", "HOST,…", "registries without TLS (this machine's are anyway)", set_insecure_registries},
      {"allow-zero-initial-scale", "", "let a service start with no instance (initial-scale: 0)",
       turn_on(&Config::allow_zero_initial_scale)},
      {"access-log", "FILE", "one JSON line a request, appended (default none)", store(&Config::access_log)},
      {"log-json", "", "log lines as JSON", turn_on(&Config::log_json)},
      {"help", "", "this text", turn_on(&Config::help)},
  };
  return all;
}

// Given by `wick serve` to the runner it forks, and by the runner's unit; of no use to a person.
const std::vector<Flag>& runner_flags() {
  static const std::vector<Flag> all{
      {"fd", "N", "the inherited socket", number(&Config::runner_fd)},
      {"shelf-in", "N", "an inherited socket: what the next runner finds is put there", number(&Config::shelf_in)},
      {"shelf-out", "N", "likewise: what the runner before this one has put there", number(&Config::shelf_out)},
      {"front-uid", "UID", "who may talk to the runner", number(&Config::front_uid)},
      {"make-key", "", "make the key for Secrets where it is missing, and nothing else", turn_on(&Config::make_key)},
      {"end-all", "", "end every instance that an earlier runner left running, and nothing else",
       turn_on(&Config::end_all)},
      {"front-gid", "GID", "the group of what the front may read", number(&Config::front_gid)},
  };
  return all;
}

const Flag* find_flag(std::string_view name) {
  for (const auto* table : {&flags(), &runner_flags()}) {
    const auto found = std::ranges::find(*table, name, &Flag::name);
    if (found != table->end()) return &*found;
  }
  return nullptr;
}

std::string variable_of(std::string_view flag) {
  std::string name = "WICK_";
  for (char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

std::string_view to_text(build::BaseChoice bases) {
  switch (bases) {
    case build::BaseChoice::automatic:
      return "auto";
    case build::BaseChoice::debian:
      return "debian";
    case build::BaseChoice::registry:
      break;
  }
  return "registry";
}

Result<Config> parse_config(int argc, char** argv) {
  Config config;
  const std::string role = argv[0];
  for (const auto& flag : flags()) {
    const auto variable = variable_of(flag.name);
    const char* value = std::getenv(variable.c_str());
    const bool turned_on = value != nullptr && (value == "1"sv || value == "true"sv || value == "yes"sv);
    if (value == nullptr || flag.name == "help" || (flag.value.empty() && !turned_on)) continue;
    if (auto set = flag.set(config, value); !set) return fail(std::move(set.error()).within(variable));
  }
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto equals = argument.find('=');
    const Flag* flag = argument.starts_with("--")
                           ? find_flag(argument.substr(2, equals == std::string_view::npos ? equals : equals - 2))
                           : nullptr;
    if (!flag && argument != "-h")
      return fail(Errc::invalid, fmt::format("unknown argument '{}'", printable(argument)),
                  fmt::format("wick {} --help", role));
    if (argument == "-h") flag = find_flag("help");
    std::string_view value;
    if (!flag->value.empty()) {
      if (equals != std::string_view::npos) {
        value = argument.substr(equals + 1);
      } else if (i + 1 < argc) {
        value = argv[++i];
      } else {
        return fail(Errc::invalid, fmt::format("--{} needs a value: {}", flag->name, flag->value),
                    fmt::format("wick {} --help", role));
      }
    }
    if (auto set = flag->set(config, value); !set)
      return fail(std::move(set.error()).within(fmt::format("--{}", flag->name)));
  }
  if (config.acme.external_account.empty() != config.acme.external_account_key.empty())
    return fail(Errc::invalid, "--acme-eab-id and --acme-eab-key belong together",
                "the authority gives out both: an id, and a key for FILE");
  if (config.acme.directory == AcmeSettings::lets_encrypt && !config.acme.agrees_to_terms && role == "serve")
    return fail(Errc::invalid, "--acme needs --acme-agree-tos: Let's Encrypt asks for it",
                "read the terms at https://letsencrypt.org/repository/ first");
  return config;
}

std::string config_help(std::string_view role) {
  std::string text = fmt::format("usage: wick {} [flags]   (each flag is also WICK_<FLAG> in the environment)\n", role);
  for (const auto& flag : flags())
    text += fmt::format("  --{:<28} {}\n", fmt::format("{} {}", flag.name, flag.value), flag.help);
  return text;
}

}  // namespace wick::app
