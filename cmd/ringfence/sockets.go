package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"ringfence/proxy"
	"ringfence/proxy/wire"
)

// socketCollector gives the counters of the sockets.
type socketCollector struct{ proxy *proxy.Proxy }

var (
	socketDropDesc   = prometheus.NewDesc("ringfence_socket_dropped_total", "Datagrams dropped and connections refused or closed at the sockets, by reason.", []string{"reason"}, nil)
	socketOpenDesc   = prometheus.NewDesc("ringfence_connections", "Connections that are up.", nil, nil)
	socketAcceptDesc = prometheus.NewDesc("ringfence_connections_accepted_total", "Connections that were accepted.", nil, nil)
)

// Describe is prometheus.Collector's.
func (s *socketCollector) Describe(out chan<- *prometheus.Desc) {
	out <- socketDropDesc
	out <- socketOpenDesc
	out <- socketAcceptDesc
}

// Collect is prometheus.Collector's.
func (s *socketCollector) Collect(out chan<- prometheus.Metric) {
	c := s.proxy.Sockets()
	for reason, n := range socketDrops(c) {
		out <- prometheus.MustNewConstMetric(socketDropDesc, prometheus.CounterValue, float64(n), reason)
	}
	out <- prometheus.MustNewConstMetric(socketOpenDesc, prometheus.GaugeValue, float64(c.Open))
	out <- prometheus.MustNewConstMetric(socketAcceptDesc, prometheus.CounterValue, float64(c.Accepted))
}

// overflowed is the reason of what the kernel drops before we see it.
const overflowed = "kernel_overflow"

// socketDrops are the counters by reason.
func socketDrops(c wire.Counters) map[string]uint64 {
	out := map[string]uint64{overflowed: c.Overflow}
	for r, n := range c.Dropped {
		out[wire.Reason(r).String()] = n
	}
	return out
}

// examineSockets says when messages are lost that nobody refused: that is for the
// operator to mend, and no attacker's affair alone.
func examineSockets(c wire.Counters, say func(what string, ok bool, do, form string, args ...any)) {
	say("socket buffers", c.Overflow == 0, "raise net.core.rmem_max with sysctl and restart, or set limits.sockets to more",
		"%s lost before they were read", count(int(c.Overflow), "datagram"))
	lost := c.Dropped[wire.WriteFull] + c.Dropped[wire.SendFull]
	say("sending", lost == 0, "is the network slower than what is sent, or a far end that reads nothing?",
		"%s not sent for want of room", count(int(lost), "message"))
}
