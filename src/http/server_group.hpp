// What servers on loops of their own share that accept from the same listeners. Asked once or twice a connection, never
// for a request: hence the lock.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wick/http/server.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"

namespace wick::http {

class Counted;
/// A connection that was accepted and nobody has looked at.
struct Accepted {
  Fd socket;
  sockaddr_storage address{};
  Listening how;
};

/// Clients are counted together, and a new connection goes to the server that has the fewest: the kernel wakes the same
/// loop again and again.
class ServerGroup {
 public:
  struct Member {
    Executor loop;
    std::function<void(Accepted, Counted)> take;  // its loop only; empty once it left
    std::size_t open = 0;                         // under the group's lock
  };
  using MemberPtr = std::shared_ptr<Member>;

  void join(MemberPtr member) {
    const std::lock_guard lock(mutex_);
    members_.push_back(std::move(member));
  }
  void leave(const MemberPtr& member) {
    const std::lock_guard lock(mutex_);
    std::erase(members_, member);
  }
  /// Whose the next connection is, counted already: `own` unless another has fewer.
  MemberPtr next(const MemberPtr& own) {
    const std::lock_guard lock(mutex_);
    auto fewest = own;
    for (const auto& member : members_)
      if (member->open < fewest->open) fewest = member;
    ++fewest->open;
    return fewest;
  }
  /// Its connections, those among them that another loop has accepted and that are still on their way to it.
  std::size_t open(const Member& member) {
    const std::lock_guard lock(mutex_);
    return member.open;
  }
  void ended(Member& member) {
    const std::lock_guard lock(mutex_);
    --member.open;
  }

  /// False when `client` has `most` connections already.
  bool add(const std::string& client, std::size_t most) {
    const std::lock_guard lock(mutex_);
    auto& count = clients_[client];
    if (count >= most) return false;
    ++count;
    return true;
  }
  void remove(const std::string& client) {
    const std::lock_guard lock(mutex_);
    const auto found = clients_.find(client);
    if (--found->second == 0) clients_.erase(found);
  }

 private:
  std::mutex mutex_;
  std::vector<MemberPtr> members_;
  std::unordered_map<std::string, std::size_t> clients_;  // only those that are counted
};

/// One connection as its group counts it, until destroyed.
class Counted {
 public:
  /// What ServerGroup::next() counted.
  Counted(std::shared_ptr<ServerGroup> group, ServerGroup::MemberPtr member)
      : group_(std::move(group)), member_(std::move(member)) {}
  Counted(Counted&& other) noexcept = default;
  Counted& operator=(Counted&&) = delete;
  ~Counted() {
    if (!group_) return;
    group_->ended(*member_);
    if (client_) group_->remove(*client_);
  }
  /// Against the client's share too. False when it has `most` already.
  bool add_to(const std::string& client, std::size_t most) {
    if (!group_->add(client, most)) return false;
    client_ = client;
    return true;
  }

 private:
  std::shared_ptr<ServerGroup> group_;
  ServerGroup::MemberPtr member_;
  std::optional<std::string> client_;
};

}  // namespace wick::http
