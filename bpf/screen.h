// What the program and its loader agree on: keys, values, reasons and maps.
// A change here that alters a layout raises SCREEN_LAYOUT, so that a daemon of
// another version copies what it can and replaces the rest.
#pragma once

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SCREEN_LAYOUT 1

// Why a packet passed or was dropped. reason.go has the same list.
enum reason {
	UNGUARDED, // not counted: it pays for no lookup at all
	GRACE,
	ALLOWED,
	TRUSTED,
	EMERGENCY,
	TRICKLE,
	LATER_FRAGMENT,
	PASSED,
	MALFORMED,
	TRUSTED_RATE,
	BANNED,
	LIMITED,
	DENIED,
	FRAGMENT,
	STATIC,
	KEEPALIVE,
	NOT_SIP,
	SYN_RATE,
	SOURCE_RATE,
	NEW_SOURCE,
	REASONS,
};

// An address as the maps see it: 16 bytes in network order, IPv4 mapped into
// ::ffff:0:0/96 (RFC 4291 section 2.5.5.2), so that one map serves both.
struct source {
	__u64 high, low;
	__u16 port; // host order; 0: every port
	__u8 bits;  // 128: one host, 64: an IPv6 /64
	__u8 kind;  // of a rate: MESSAGES or SYNS
	__u8 pad[4];
};

enum { MESSAGES, SYNS };

// A prefix for the LPM maps; bits count from the start of the mapped address.
struct prefix {
	__u32 bits;
	__u8 address[16];
};

// Times are nanoseconds of CLOCK_BOOTTIME, so that they survive the daemon and
// go on during suspend. 0 is the past, all ones is for good.
struct ban {
	__u64 until;
	__u64 next; // theoretical arrival time of the trickle
	__u64 flags;
};

enum { BAN_LIMIT = 1, BAN_OPERATOR = 2 };

struct flow {
	__u64 grace;   // until when everything passes
	__u64 trusted; // until when only its own rate counts
	__u64 next;
};

struct number {
	__u8 digits[16]; // padded with NUL; 15 at most
};

// A rate as GCRA wants it: the time that one packet pays for, and how far ahead
// of time packets may come. every 0 is no limit.
struct rate {
	__u64 every;
	__u64 ahead;
};

struct options {
	__u64 layout;
	__u64 flags;
	__u64 stale; // age of the heartbeat from which the daemon counts as gone
	struct rate source;
	struct rate trusted;
	struct rate syn;
	struct rate trickle;
	struct rate lane;    // emergency calls of one source
	struct rate lanes;   // emergency calls that pass by the lane, per CPU
	struct rate arrival; // sources that get a new rate entry, per CPU
};

enum { PASS_KEEPALIVES = 1, DROP_FRAGMENTS = 2, FAIL_CLOSED = 4 };

struct count {
	__u64 packets;
	__u64 bytes;
};

enum { GUARD_UDP = 1, GUARD_TCP = 2 };

// Sizes are the defaults; the loader sets those of its Config.

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct options);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} heartbeat SEC(".maps");

// Only the daemon inserts into flows, bans, allow, deny and numbers, so packets
// can neither fill nor evict them, and they need no memory before they are used.

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source);
	__type(value, struct ban);
} bans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u64);
} allow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct ban);
} deny SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct number);
	__type(value, __u32);
} numbers SEC(".maps");

// Packets insert into rates and lanes. They are LRU, and a budget per CPU stands
// in front of every insert: a flood from random addresses neither evicts those
// who speak nor pays for an insert per packet.

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct source);
	__type(value, __u64);
} rates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct source);
	__type(value, __u64);
} lanes SEC(".maps");

enum { BUDGET_LANES, BUDGET_ARRIVAL, BUDGETS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BUDGETS);
	__type(key, __u32);
	__type(value, __u64);
} budgets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, struct count);
} counters SEC(".maps");
