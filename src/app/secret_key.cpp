#include "app/secret_key.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t key_file_bytes_max = 4096;

fs::path key_file(const Config& config) {
  if (!config.secret_key.empty()) return config.secret_key;
  if (const char* folder = std::getenv("CREDENTIALS_DIRECTORY")) {
    std::error_code missing;
    if (fs::exists(fs::path(folder) / "secret-key", missing)) return fs::path(folder) / "secret-key";
  }
  return "/etc/wick/secret.key";
}

/// Two daemons that start at once end with one key: the second to link it takes the first's.
Result<void> make_key(const fs::path& file) {
  if (auto made = make_folders(file.parent_path(), 0755); !made) return made;
  const auto fresh = file.string() + "." + random_hex(8);
  const Fd out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return fail(system_error("make " + fresh, errno));
  const auto text = random_hex(store::Vault::key_bytes) + "\n";
  const bool written =
      ::write(out.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(out.get()) == 0;
  const int failed = written ? 0 : errno;
  const bool linked = written && (::link(fresh.c_str(), file.c_str()) == 0 || errno == EEXIST);
  const int not_linked = errno;
  ::unlink(fresh.c_str());
  if (!written) return fail(system_error("write " + fresh, failed));
  if (!linked) return fail(system_error("make " + file.string(), not_linked));
  log::info("key for Secrets made", {{"file", file.string()}});
  return {};
}

bool is_inside(const fs::path& file, const fs::path& folder) {
  std::error_code error;
  const auto relative = fs::weakly_canonical(file, error).lexically_relative(fs::weakly_canonical(folder, error));
  return !relative.empty() && *relative.begin() != "..";
}

}  // namespace

Result<std::shared_ptr<const store::Vault>> open_vault(const Config& config) {
  const auto file = key_file(config);
  if (is_inside(file, config.state))
    return fail(
        Errc::invalid,
        fmt::format("the key {} lies in the state folder, where every copy of the state takes it along", file.string()),
        "move it out and name it with --secret-key");
  auto text = read_file(file, key_file_bytes_max);
  if (!text && text.error().code() == Errc::not_found && ::geteuid() == 0) {
    auto made = make_key(file);
    text = made ? read_file(file, key_file_bytes_max) : Result<std::string>(fail(std::move(made.error())));
  }
  if (!text) {
    if (!config.secret_key.empty()) return fail(std::move(text.error()).within("--secret-key"));
    log::warn("no key for Secrets: they are refused", {{"error", text.error().what()}});
    return nullptr;
  }
  auto vault = store::Vault::from_hex(*text);
  if (!vault) return fail(std::move(vault.error()).within(file.string()));
  return std::make_shared<const store::Vault>(std::move(*vault));
}

}  // namespace wick::app
