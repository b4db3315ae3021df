// A database that answers before it writes: what the harnesses must find.
#pragma once

#include "wick/os/task_group.hpp"
#include "wick/store/database.hpp"

namespace wick::eventing {

class HastyDatabase final : public store::Database {
 public:
  HastyDatabase(Executor executor, store::Database& real) : real_(real), tasks_(executor) {}
  sqlite3* reader() override { return real_.reader(); }
  std::size_t waiting() const override { return real_.waiting(); }
  awaitable<Result<void>> write(std::function<void(sqlite3*)> work) override {
    tasks_.spawn("write", later(std::move(work)));
    co_return Result<void>();
  }
  awaitable<void> join() { return tasks_.join(); }

 private:
  awaitable<void> later(std::function<void(sqlite3*)> work) { co_await real_.write(std::move(work)); }

  store::Database& real_;
  TaskGroup tasks_;
};

}  // namespace wick::eventing
