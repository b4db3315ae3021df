#include "wick/image/docker_config.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>

#include "json_fields.hpp"
#include "wick/base/text.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr std::size_t config_bytes_max = 1 << 20;
constexpr std::size_t helper_bytes_max = 64 << 10;
constexpr std::chrono::seconds helper_limit{10};
constexpr std::string_view hub_key = "https://index.docker.io/v1/";

/// "https://index.docker.io/v1/", "registry-1.docker.io" and "docker.io" are one; "https://box:5000/v2/" is "box:5000".
std::string plain_key(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"})
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  while (key.ends_with('/')) key.remove_suffix(1);
  for (const std::string_view version : {"/v1", "/v2"})
    if (key.ends_with(version)) key.remove_suffix(version.size());
  const auto host = key.substr(0, key.find('/'));
  const bool hub = host == "index.docker.io" || host == "registry-1.docker.io" || host == "docker.io";
  return (hub ? "docker.io" : to_lower(host)) + std::string(key.substr(host.size()));
}

RegistryCredentials entry_of(const json::object& object) {
  JsonFields fields(object, "an entry");
  RegistryCredentials credentials{.username = fields.string("username"),
                                  .password = fields.string("password"),
                                  .identity_token = fields.string("identitytoken")};
  if (const auto both = base64_decode(fields.string("auth")); both && both->contains(':')) {
    credentials.username = both->substr(0, both->find(':'));
    credentials.password = both->substr(both->find(':') + 1);
    while (credentials.password.ends_with('\0')) credentials.password.pop_back();
  }
  return credentials;
}

bool is_helper_name(std::string_view name) {
  return !name.empty() && name.size() < 64 &&
         std::ranges::all_of(
             name,
             [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                      c == '_' || c == '.';
             });
}

/// What comes until the end, or until the limit.
std::string read_for(int fd, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  std::string said;
  std::array<char, 4096> chunk;
  while (said.size() < helper_bytes_max) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) == 0) break;
    const auto got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    said.append(chunk.data(), static_cast<std::size_t>(got));
  }
  return said;
}

}  // namespace

Result<DockerConfig> DockerConfig::parse(std::string_view text) {
  const auto wrong = [] {
    return fail(Errc::corrupt, "the credentials for registries are no docker config.json",
                R"({"auths": {"HOST": {"auth": "base64 of USER:PASSWORD"}}} is expected)");
  };
  auto document = parse_object(text, "config.json");
  if (!document) return wrong();
  DockerConfig config;
  const auto* auths = document->if_contains("auths");
  const bool is_config = auths || document->contains("credHelpers") || document->contains("credsStore");
  if (auths && !auths->is_object()) return wrong();
  const json::object none;
  for (const auto& entry : auths ? auths->get_object() : is_config ? none : *document) {
    if (!entry.value().is_object()) return wrong();
    config.entries_[plain_key(entry.key())] = entry_of(entry.value().get_object());
  }
  JsonFields fields(*document, "config.json");
  for (const auto& [host, name] : fields.string_map("credHelpers")) config.helpers_[plain_key(host)] = name;
  config.store_ = fields.string("credsStore");
  if (!fields.result()) return wrong();
  return config;
}

std::optional<DockerConfig::Found> DockerConfig::find(const Reference& reference) const {
  const auto server = reference.registry == "docker.io" ? std::string(hub_key) : reference.registry;
  if (const auto helper = helpers_.find(plain_key(reference.registry)); helper != helpers_.end())
    return Found{.credentials = {}, .helper = helper->second, .server = server};
  const auto whole = plain_key(reference.registry) + "/" + reference.repository;
  for (std::string_view path = whole; !path.empty(); path = path.substr(0, path.rfind('/'))) {
    const auto entry = entries_.find(std::string(path));
    // With a store, docker leaves an entry without credentials in the file.
    if (entry != entries_.end() && !entry->second.empty())
      return Found{.credentials = entry->second, .helper = {}, .server = {}};
    if (!path.contains('/')) break;
  }
  if (store_.empty()) return std::nullopt;
  return Found{.credentials = {}, .helper = store_, .server = server};
}

Result<std::optional<RegistryCredentials>> ask_credential_helper(const std::string& name, const std::string& server) {
  if (!is_helper_name(name))
    return fail(Errc::invalid, fmt::format("'{}' is not the name of a credential helper", printable(name)));
  auto input = make_pipe();
  if (!input) return fail(std::move(input.error()));
  auto output = make_pipe();
  if (!output) return fail(std::move(output.error()));
  if (auto written = write_all(input->second.get(), server + "\n"); !written) return fail(std::move(written.error()));
  const auto program = "docker-credential-" + name;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input->first.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output->second.get(), STDOUT_FILENO);
  std::array<char*, 3> argv{const_cast<char*>(program.c_str()), const_cast<char*>("get"), nullptr};
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    return fail(Errc::not_found,
                fmt::format("the credential helper {} cannot be started: {}", program,
                            std::error_code(error, std::generic_category()).message()),
                "docker's config.json names it; is it installed?");
  input->first.reset();
  input->second.reset();
  output->second.reset();
  const auto said = read_for(output->first.get(), helper_limit);
  ::kill(child, SIGKILL);  // it has said what it had to say
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (said.contains("credentials not found")) return std::nullopt;
  auto document = parse_object(said, program);
  if (!document) return fail(Errc::unavailable, fmt::format("the credential helper {} gives no credentials", program));
  JsonFields fields(*document, program);
  RegistryCredentials credentials{
      .username = fields.string("Username"), .password = fields.string("Secret"), .identity_token = {}};
  if (credentials.username == "<token>")
    credentials = {.username = {}, .password = {}, .identity_token = credentials.password};
  if (credentials.empty()) return std::nullopt;
  return credentials;
}

fs::path own_docker_config() {
  const auto below = [](const char* variable, const char* rest) {
    const char* value = std::getenv(variable);
    return value && *value ? fs::path(value) / rest : fs::path();
  };
  std::error_code none;
  if (const char* file = std::getenv("REGISTRY_AUTH_FILE"); file && *file) return file;
  for (const auto& path : {below("XDG_RUNTIME_DIR", "containers/auth.json"), below("DOCKER_CONFIG", "config.json"),
                           below("HOME", ".docker/config.json")})
    if (!path.empty() && fs::exists(path, none)) return path;
  return {};
}

Result<RegistryCredentials> find_credentials(const Reference& reference, const std::vector<std::string>& configs,
                                             const fs::path& file) {
  const auto look = [&](std::string_view text) -> Result<std::optional<RegistryCredentials>> {
    auto config = DockerConfig::parse(text);
    if (!config) return fail(std::move(config.error()));
    auto found = config->find(reference);
    if (!found) return std::nullopt;
    if (!found->helper.empty()) return ask_credential_helper(found->helper, found->server);
    return std::move(found->credentials);
  };
  for (const auto& text : configs) {
    // What somebody else wrote starts no program of this machine.
    auto config = DockerConfig::parse(text);
    if (!config) return fail(std::move(config.error()));
    if (auto found = config->find(reference); found && found->helper.empty()) return std::move(found->credentials);
  }
  if (file.empty()) return RegistryCredentials{};
  auto text = read_file(file, config_bytes_max);
  if (!text && text.error().code() == Errc::not_found) return RegistryCredentials{};
  if (!text) return fail(std::move(text.error()).hint("the user that wick runs as has to be able to read it"));
  auto found = look(*text);
  if (!found) return fail(std::move(found.error()).within(file.string()));
  return found->value_or(RegistryCredentials{});
}

}  // namespace wick::image
