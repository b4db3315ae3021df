#include "port_steering.hpp"

#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace wick::container {

namespace {

Fd bpf(bpf_cmd command, bpf_attr attributes) {
  return Fd(static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes)));
}

constexpr bpf_insn instruction(int code, int target, int source, int offset, int value) {
  bpf_insn out{};
  out.code = static_cast<__u8>(code);
  out.dst_reg = static_cast<__u8>(target & 15);
  out.src_reg = static_cast<__u8>(source & 15);
  out.off = static_cast<__s16>(offset);
  out.imm = value;
  return out;
}
constexpr bpf_insn move(int target, int source) {
  return instruction(BPF_ALU64 | BPF_MOV | BPF_X, target, source, 0, 0);
}
constexpr bpf_insn set(int target, int value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, target, 0, 0, value); }
constexpr bpf_insn load(int target, int source, std::size_t offset) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, target, source, static_cast<int>(offset), 0);
}
constexpr bpf_insn unless_equal(int target, int value, int skip) {
  return instruction(BPF_JMP32 | BPF_JNE | BPF_K, target, 0, skip, value);
}
constexpr bpf_insn call(int function) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, function); }

/// if (protocol == TCP && local_port == port && local_ip4 == address)
///   if (socket = map[0]) { sk_assign(context, socket); sk_release(socket); }
/// return SK_PASS;
auto program(int map, std::uint32_t address_be, std::uint16_t port) {
  return std::array{
      move(6, 1),
      load(2, 6, offsetof(bpf_sk_lookup, protocol)),
      unless_equal(2, IPPROTO_TCP, 18),
      load(2, 6, offsetof(bpf_sk_lookup, local_port)),  // in host order
      unless_equal(2, port, 16),
      load(2, 6, offsetof(bpf_sk_lookup, local_ip4)),  // in network order
      unless_equal(2, static_cast<int>(address_be), 14),
      instruction(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
      instruction(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map),
      instruction(0, 0, 0, 0, 0),  // the second half of the load above
      move(2, 10),
      instruction(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
      call(BPF_FUNC_map_lookup_elem),
      instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 7, 0),
      move(7, 0),
      move(1, 6),
      move(2, 0),
      set(3, 0),
      call(BPF_FUNC_sk_assign),
      move(1, 7),
      call(BPF_FUNC_sk_release),
      set(0, SK_PASS),
      instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
  };
}

std::unexpected<Error> unsupported(const char* what, int error) {
  return fail(Errc::unsupported, system_error(what, error).message(),
              "the kernel needs BPF (CONFIG_BPF_SYSCALL) and must let root use it");
}

}  // namespace

Result<PortSteering> PortSteering::attach(const Fd& network_namespace, std::uint32_t address_be, std::uint16_t port) {
  PortSteering steering;
  bpf_attr map{};
  map.map_type = BPF_MAP_TYPE_SOCKMAP;
  map.key_size = 4;
  map.value_size = 8;
  map.max_entries = 1;
  steering.map_ = bpf(BPF_MAP_CREATE, map);
  if (!steering.map_) return unsupported("make a socket map", errno);

  const auto instructions = program(steering.map_.get(), address_be, port);
  static constexpr char license[] = "Apache-2.0";
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
  load.expected_attach_type = BPF_SK_LOOKUP;
  load.insns = reinterpret_cast<std::uintptr_t>(instructions.data());
  load.insn_cnt = instructions.size();
  load.license = reinterpret_cast<std::uintptr_t>(license);
  steering.program_ = bpf(BPF_PROG_LOAD, load);
  if (!steering.program_) return unsupported("load the socket look-up program", errno);

  bpf_attr link{};
  link.link_create.prog_fd = static_cast<__u32>(steering.program_.get());
  link.link_create.target_fd = static_cast<__u32>(network_namespace.get());
  link.link_create.attach_type = BPF_SK_LOOKUP;
  steering.link_ = bpf(BPF_LINK_CREATE, link);
  if (!steering.link_) return unsupported("attach the socket look-up program", errno);
  return steering;
}

Result<void> PortSteering::to(const Fd& listener) const {
  const std::uint32_t key = 0;
  const auto value = static_cast<std::uint64_t>(listener.get());
  bpf_attr update{};
  update.map_fd = static_cast<__u32>(map_.get());
  update.key = reinterpret_cast<std::uintptr_t>(&key);
  update.value = reinterpret_cast<std::uintptr_t>(&value);
  if (::syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &update, sizeof update) == 0) return {};
  return unsupported("steer connections to a listener", errno);
}

}  // namespace wick::container
