//go:build ignore

// The screen: what may come in from the network to the guarded ports, decided
// before the kernel has made a packet of it. soft.go is its twin in Go; a test
// holds the two to the same answers.
//
// Anything that is not for a guarded port passes, whatever it looks like.

#include "screen.h"

#define VLANS 2
#define EXTENSIONS 4
#define KEEPALIVE_MAX 4 // nothing this short is a SIP message
#define HEAD 16         // enough for every method and its space
#define LINE 48         // enough for INVITE and an emergency Request-URI

struct vlan {
	__be16 tag;
	__be16 protocol;
};

struct extension {
	__u8 next;
	__u8 length; // in 8 octets, not counting the first 8 (RFC 8200 section 4.2)
};

struct fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset; // 13 bits of offset, 2 reserved, 1 more
	__be32 id;
};

struct packet {
	struct source from; // host and port, bits 128
	__u64 now;
	__u32 frame;   // octets
	__u32 payload; // offset of the UDP payload
	__u32 size;    // octets of the UDP payload
	__u32 room;    // octets that the IP header promises after itself
	__u32 end;     // offset at which the IP packet says that it ends
	__u8 protocol;
	bool v6;
	bool more;  // first fragment of several
	bool later; // a fragment without ports
	bool syn;
};

// at returns size octets at an offset, or nothing when the linear part is
// shorter. The loads are in assembly because clang otherwise copies the packet
// pointer through a 32 bit register, which the verifier refuses.
static __always_inline void *at(struct xdp_md *ctx, __u64 offset, __u64 size)
{
	void *data, *end;

	asm volatile("%0 = *(u32 *)(%1 + 0)" : "=r"(data) : "r"(ctx));
	asm volatile("%0 = *(u32 *)(%1 + 4)" : "=r"(end) : "r"(ctx));
	data += offset;
	return data + size > end ? NULL : data;
}

static __always_inline int tell(struct packet *p, __u32 why, int action)
{
	struct count *c = bpf_map_lookup_elem(&counters, &why);

	if (c) {
		c->packets++;
		c->bytes += p->frame;
	}
	return action;
}

#define PASS(why) return tell(&p, why, XDP_PASS)
#define DROP(why) return tell(&p, why, XDP_DROP)

// conform is the generic cell rate algorithm (ITU-T I.371) on one word. A time
// further ahead than the rate can make is left from older settings.
static __always_inline bool conform(__u64 *next, __u64 now, const struct rate *r)
{
	for (int i = 0; i < 4; i++) {
		__u64 old = *(volatile __u64 *)next;
		__u64 base = old > now && old - now <= r->ahead + r->every ? old : now;

		if (base - now > r->ahead)
			return false;
		if (__sync_val_compare_and_swap(next, old, base + r->every) == old)
			return true;
	}
	return false; // so many at once are a flood
}

static __always_inline bool budget(__u32 which, __u64 now, const struct rate *r)
{
	__u64 *next = bpf_map_lookup_elem(&budgets, &which);

	return next && conform(next, now, r);
}

// read_ip reads up to the transport header and returns its offset, or 0 for
// whatever is not IP, or is in doubt.
static __always_inline __u64 read_ip(struct xdp_md *ctx, struct packet *p)
{
	__u64 offset = sizeof(struct ethhdr);
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	__be16 protocol;

	if (!eth)
		return 0;
	protocol = eth->h_proto;
	for (int i = 0; i < VLANS; i++) {
		struct vlan *tag;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		tag = at(ctx, offset, sizeof(*tag));
		if (!tag)
			return 0;
		protocol = tag->protocol;
		offset += sizeof(*tag);
	}

	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at(ctx, offset, sizeof(*ip));
		__u32 header, total;

		if (!ip || ip->version != 4 || ip->ihl < 5)
			return 0;
		header = ip->ihl * 4;
		total = bpf_ntohs(ip->tot_len);
		if (total < header)
			return 0;
		p->protocol = ip->protocol;
		p->from.low = bpf_cpu_to_be64(0xffffULL << 32 | bpf_ntohl(ip->saddr));
		p->later = ip->frag_off & bpf_htons(0x1fff);
		p->more = ip->frag_off & bpf_htons(0x2000);
		p->end = offset + total;
		p->room = total - header;
		return offset + header;
	}

	if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at(ctx, offset, sizeof(*ip));
		__u32 used = 0, total;
		__u8 next;

		if (!ip || ip->version != 6)
			return 0;
		__builtin_memcpy(&p->from.high, &ip->saddr, 16);
		total = bpf_ntohs(ip->payload_len);
		next = ip->nexthdr;
		offset += sizeof(*ip);
		p->v6 = true;
		p->end = offset + total;
		for (int i = 0; i < EXTENSIONS; i++) {
			if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
				struct extension *e = at(ctx, offset, sizeof(*e));
				__u32 length;

				if (!e)
					return 0;
				next = e->next;
				length = (e->length + 1) * 8;
				offset += length;
				used += length;
			} else if (next == IPPROTO_FRAGMENT) {
				struct fragment *f = at(ctx, offset, sizeof(*f));

				if (!f)
					return 0;
				next = f->next;
				p->later = f->offset & bpf_htons(0xfff8);
				p->more = f->offset & bpf_htons(1);
				offset += sizeof(*f);
				used += sizeof(*f);
				if (p->later)
					break;
			} else {
				break;
			}
		}
		if (used > total)
			return 0;
		p->protocol = next;
		p->room = total - used;
		return offset;
	}
	return 0;
}

static __always_inline bool guarded(__be16 port, __u32 mask)
{
	__u32 number = bpf_ntohs(port);
	__u32 *guard = bpf_map_lookup_elem(&ports, &number);

	return guard && *guard & mask;
}

static __always_inline bool same(const char *text, const char *wanted, int n)
{
	for (int i = 0; i < n; i++)
		if (text[i] != wanted[i])
			return false;
	return true;
}

#define IS(text) same(head, text, sizeof(text) - 1)

// method_space tells whether a message begins with a method we know, or is a
// response (RFC 3261 sections 7.1 and 7.2, and the methods' own RFCs).
static __always_inline bool method_space(const char *head)
{
	switch (head[0]) {
	case 'A':
		return IS("ACK ");
	case 'B':
		return IS("BYE ");
	case 'C':
		return IS("CANCEL ");
	case 'I':
		return IS("INVITE ") || IS("INFO ");
	case 'M':
		return IS("MESSAGE ");
	case 'N':
		return IS("NOTIFY ");
	case 'O':
		return IS("OPTIONS ");
	case 'P':
		return IS("PRACK ") || IS("PUBLISH ");
	case 'R':
		return IS("REGISTER ") || IS("REFER ");
	case 'S':
		return IS("SIP/2.0 ") || IS("SUBSCRIBE ");
	case 'U':
		return IS("UPDATE ");
	}
	return false;
}

static __always_inline bool letters(const char *text, const char *lower, int n)
{
	for (int i = 0; i < n; i++) {
		char c = text[i];

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		if (c != lower[i])
			return false;
	}
	return true;
}

static __always_inline bool known_number(const char *user)
{
	struct number n = {};

	for (int i = 0; i < (int)sizeof(n.digits); i++) {
		__u8 c = user[i];

		if (c == '@' || c == ';' || c == ':' || c == '?' || c == ' ')
			return i && bpf_map_lookup_elem(&numbers, &n);
		if (i == sizeof(n.digits) - 1)
			break;
		n.digits[i] = c;
	}
	return false;
}

// emergency tells whether an INVITE's Request-URI is an emergency service
// (RFC 5031) or has one of the emergency numbers as its user.
static __always_inline bool emergency(struct xdp_md *ctx, struct packet *p)
{
	char line[LINE];
	const char *uri = line + 7;

	if (p->size < LINE || bpf_xdp_load_bytes(ctx, p->payload, line, LINE))
		return false;
	if (letters(uri, "urn:service:sos", 15))
		return uri[15] == ' ' || uri[15] == '.' || uri[15] == ';' || uri[15] == '?';
	if (letters(uri, "sip:", 4) || letters(uri, "tel:", 4))
		return known_number(uri + 4);
	if (letters(uri, "sips:", 5))
		return known_number(uri + 5);
	return false;
}

// site is the source whose packets count together: a host, or an IPv6 /64.
static __always_inline struct source site(const struct packet *p)
{
	struct source s = p->from;

	s.port = 0;
	if (p->v6) {
		s.low = 0;
		s.bits = 64;
	}
	return s;
}

// lane tells whether an emergency call may pass whatever is held against its
// source: one in a while from each, and a budget over all.
static __always_inline bool lane(const struct packet *p, const struct options *s)
{
	struct source key = site(p);
	__u64 *next = bpf_map_lookup_elem(&lanes, &key);
	__u64 first = p->now + s->lane.every;

	if (next && !conform(next, p->now, &s->lane))
		return false;
	if (!budget(BUDGET_LANES, p->now, &s->lanes))
		return false;
	if (!next)
		bpf_map_update_elem(&lanes, &key, &first, BPF_ANY);
	return true;
}

// held returns UNGUARDED when the ban is over, else what it does to a packet.
static __always_inline __u32 held(struct ban *b, __u64 now, const struct options *s, __u32 why)
{
	if (!b || b->until <= now)
		return UNGUARDED;
	if (!(b->flags & BAN_LIMIT))
		return why;
	return conform(&b->next, now, &s->trickle) ? TRICKLE : LIMITED;
}

static __always_inline __u32 banned(const struct packet *p, const struct options *s)
{
	struct source key = p->from;
	__u32 why;

	if (!p->later) {
		why = held(bpf_map_lookup_elem(&bans, &key), p->now, s, BANNED);
		if (why)
			return why;
	}
	key.port = 0;
	why = held(bpf_map_lookup_elem(&bans, &key), p->now, s, BANNED);
	if (why || !p->v6)
		return why;
	key.low = 0;
	key.bits = 64;
	return held(bpf_map_lookup_elem(&bans, &key), p->now, s, BANNED);
}

// over returns UNGUARDED when the source is within its rate, else why it is not.
static __always_inline __u32 over(const struct packet *p, const struct options *s, __u8 kind)
{
	const struct rate *r = kind == SYNS ? &s->syn : &s->source;
	struct source key = site(p);
	__u64 *next, first = p->now + r->every;

	if (!r->every)
		return UNGUARDED;
	key.kind = kind;
	next = bpf_map_lookup_elem(&rates, &key);
	if (next)
		return conform(next, p->now, r) ? UNGUARDED : kind == SYNS ? SYN_RATE : SOURCE_RATE;
	if (!budget(BUDGET_ARRIVAL, p->now, &s->arrival))
		return NEW_SOURCE;
	bpf_map_update_elem(&rates, &key, &first, BPF_ANY);
	return UNGUARDED;
}

SEC("xdp.frags")
int screen(struct xdp_md *ctx)
{
	struct packet p = {};
	char head[HEAD] = {};
	struct options *s;
	struct prefix address = {.bits = 128};
	struct flow *flow;
	struct ban *refused;
	__u64 offset, *beat;
	__u32 zero = 0, why, length = 0;

	offset = read_ip(ctx, &p);
	if (!offset)
		return XDP_PASS;
	if (p.later) {
		// A later fragment has no ports. Only UDP brings SIP in fragments.
		if (p.protocol != IPPROTO_UDP)
			return XDP_PASS;
	} else if (p.protocol == IPPROTO_UDP) {
		struct udphdr *udp = at(ctx, offset, sizeof(*udp));

		if (!udp || !guarded(udp->dest, GUARD_UDP))
			return XDP_PASS;
		p.from.port = bpf_ntohs(udp->source);
		length = bpf_ntohs(udp->len);
	} else if (p.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at(ctx, offset, sizeof(*tcp));

		if (!tcp || !guarded(tcp->dest, GUARD_TCP))
			return XDP_PASS;
		p.from.port = bpf_ntohs(tcp->source);
		p.syn = tcp->syn && !tcp->ack;
	} else {
		return XDP_PASS;
	}

	s = bpf_map_lookup_elem(&settings, &zero);
	if (!s)
		return XDP_PASS;
	p.now = bpf_ktime_get_boot_ns();
	p.frame = bpf_xdp_get_buff_len(ctx);
	p.from.bits = 128;

	// An IPv4 address in an IPv6 header would pass for the IPv4 host.
	if (p.v6 && !p.from.high && (p.from.low & bpf_cpu_to_be64(0xffffffff00000000ULL)) == bpf_cpu_to_be64(0x0000ffff00000000ULL))
		DROP(MALFORMED);
	if (p.end > p.frame)
		DROP(MALFORMED);
	if (p.protocol == IPPROTO_UDP && !p.later) {
		// Only the first of several fragments may promise more than it brings.
		if (length < sizeof(struct udphdr) || p.room < sizeof(struct udphdr) || (length > p.room && !p.more))
			DROP(MALFORMED);
		p.payload = offset + sizeof(struct udphdr);
		p.size = (length > p.room ? p.room : length) - sizeof(struct udphdr);
		if (p.size >= HEAD && bpf_xdp_load_bytes(ctx, p.payload, head, HEAD))
			DROP(MALFORMED);
	}

	flow = p.later ? NULL : bpf_map_lookup_elem(&flows, &p.from);
	if (flow && flow->grace > p.now)
		PASS(GRACE);

	__builtin_memcpy(address.address, &p.from.high, 16);
	if (bpf_map_lookup_elem(&allow, &address))
		PASS(ALLOWED);

	if (flow && flow->trusted > p.now) {
		if (p.protocol == IPPROTO_TCP || conform(&flow->next, p.now, &s->trusted))
			PASS(TRUSTED);
		DROP(TRUSTED_RATE);
	}

	if (IS("INVITE ") && emergency(ctx, &p) && lane(&p, s))
		PASS(EMERGENCY);

	why = banned(&p, s);
	if (!why) {
		refused = bpf_map_lookup_elem(&deny, &address);
		why = held(refused, p.now, s, refused && refused->flags & BAN_OPERATOR ? DENIED : BANNED);
	}
	if (why == TRICKLE)
		PASS(why);
	if (why)
		DROP(why);

	if (p.later) {
		if (s->flags & DROP_FRAGMENTS)
			DROP(FRAGMENT);
		PASS(LATER_FRAGMENT);
	}

	beat = bpf_map_lookup_elem(&heartbeat, &zero);
	if (s->flags & FAIL_CLOSED && beat && p.now > *beat && p.now - *beat > s->stale)
		DROP(STATIC);

	if (p.protocol == IPPROTO_TCP) {
		why = p.syn ? over(&p, s, SYNS) : UNGUARDED;
		if (why)
			DROP(why);
		PASS(PASSED);
	}

	if (p.size <= KEEPALIVE_MAX) {
		if (!(s->flags & PASS_KEEPALIVES))
			DROP(KEEPALIVE);
	} else if (!method_space(head)) {
		DROP(NOT_SIP);
	}
	why = over(&p, s, MESSAGES);
	if (why)
		DROP(why);
	PASS(PASSED);
}

char _license[] SEC("license") = "Apache-2.0";
