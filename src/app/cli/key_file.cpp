// The file with the key that Secrets are encrypted with, changed by root on this machine.
//
//   rotate      a new key before the old ones        → restart: the daemon seals every Secret with the first key
//   drop old    only when the daemon says it has     → only the first key
#include <fmt/format.h>

#include <filesystem>

#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"
#include "wick/store/vault.hpp"

namespace wick::app::cli {

namespace {

constexpr std::size_t file_bytes_max = 4096;

Problem key_problem(const std::string& file, const Error& error, std::string hint = {}) {
  return {.exit = error.code() == Errc::not_found ? ExitCode::not_found : ExitCode::failed,
          .what = fmt::format("the key file {} was not changed", file),
          .slug = slug(error.code()),
          .because = error.what(),
          .last_output = {},
          .notes = {},
          .hint = error.hint().empty() ? std::move(hint) : error.hint()};
}

/// The lines with a key, newest first.
Outcome<std::vector<std::string>> read_keys(const std::string& file) {
  auto text = read_file(file, file_bytes_max);
  if (!text) return stop_with(key_problem(file, text.error(), "name the daemon's with --key-file; root may read it"));
  if (auto vault = store::Vault::from_hex(*text); !vault) return stop_with(key_problem(file, vault.error()));
  std::vector<std::string> keys;
  for (const auto line : split(*text, '\n'))
    if (!trim(line).empty()) keys.emplace_back(trim(line));
  return keys;
}

Outcome<void> write_keys(const std::string& file, const std::vector<std::string>& keys) {
  if (auto written = write_file_atomically(file, fmt::format("{}\n", fmt::join(keys, "\n")), 0600); !written)
    return stop_with(key_problem(file, written.error()));
  return {};
}

Outcome<void> drop_old_keys(Session& session, const std::string& file, std::vector<std::string> keys) {
  auto info = session.client.get("/apis/wick.dev/v1/info");
  if (!info) return stop_with(std::move(info.error()));
  if (text_at(*info, "/secretKey") != store::Vault::from_hex(keys.front())->fingerprint())
    return stop_with({.exit = ExitCode::failed,
                      .what = "the older keys are still needed",
                      .slug = "E_CONFLICT",
                      .because = fmt::format("the daemon has not sealed every Secret with the first key of {}", file),
                      .last_output = {},
                      .notes = {},
                      .hint = "restart it, then look at its log"});
  const auto dropped = keys.size() - 1;
  keys.resize(1);
  if (dropped > 0)
    if (auto written = write_keys(file, keys); !written) return written;
  if (session.json)
    print_document(session, json::object{{"file", file}, {"keys", 1}, {"dropped", dropped}});
  else
    session.terminal.result(fmt::format("{} older {} dropped", dropped, dropped == 1 ? "key" : "keys"));
  return {};
}

}  // namespace

Outcome<void> rotate_secret_key(Session& session, const KeyFileOptions& options) {
  auto keys = read_keys(options.file);
  if (!keys) return stop_with(std::move(keys.error()));
  if (options.drop_old) return drop_old_keys(session, options.file, std::move(*keys));
  if (keys->size() == store::Vault::keys_max)
    return stop_with(key_problem(options.file, Error(Errc::too_large, fmt::format("it holds {} keys", keys->size())),
                                 "wick secret rotate-key --drop-old leaves the one in use"));
  keys->insert(keys->begin(), random_hex(store::Vault::key_bytes));
  if (auto written = write_keys(options.file, *keys); !written) return written;
  if (session.json) {
    print_document(session, json::object{{"file", options.file}, {"keys", keys->size()}});
  } else {
    session.terminal.result(fmt::format("a new key is the first in {}", options.file));
    session.terminal.say(
        "next: restart wick, which seals every Secret with it; then wick secret rotate-key --drop-old");
  }
  return {};
}

}  // namespace wick::app::cli
