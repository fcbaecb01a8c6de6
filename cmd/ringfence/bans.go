package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"ringfence/console"
)

func newBans(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "bans", Short: "List bans and limits, or add one by hand"}
	list := &cobra.Command{
		Use: "list", Short: "List the bans and limits in force", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			var bans []console.Ban
			if err := g.client().Do(c.Context(), http.MethodGet, "/v1/bans", nil, &bans); err != nil {
				return err
			}
			return g.showBans(c.OutOrStdout(), bans, time.Now())
		},
	}
	var span, reason string
	add := &cobra.Command{
		Use: "add ADDRESS|PREFIX", Short: "Ban an address or a prefix", Args: arguments("an address or a prefix"),
		Example: "  ringfence bans add 203.0.113.9 --for 24h --reason 'scans us every night'",
		RunE: func(c *cobra.Command, args []string) error {
			p, err := parsePrefix(args[0])
			if err != nil {
				return err
			}
			d, err := parseSpan(span)
			if err != nil {
				return err
			}
			var done console.Banned
			if err := g.client().Do(c.Context(), http.MethodPost, "/v1/bans", console.BanRequest{Prefix: p, For: d, Reason: reason}, &done); err != nil {
				return err
			}
			warn(c.ErrOrStderr(), done.Warning)
			fmt.Fprintf(c.OutOrStdout(), "%s is banned for %s. Undo: ringfence lift %s\n", p, short(d), args[0])
			return nil
		},
	}
	add.Flags().StringVar(&span, "for", "1h", "how long, such as 30m, 24h, 7d")
	add.Flags().StringVar(&reason, "reason", "", "why; it is kept with the ban")
	c.AddCommand(list, add)
	return c
}

func (g *globals) showBans(w io.Writer, bans []console.Ban, now time.Time) error {
	rows := make([][]string, 0, len(bans))
	for _, b := range bans {
		who := b.Prefix.String()
		if b.Prefix.IsSingleIP() {
			who = b.Prefix.Addr().String()
		}
		if b.Port != 0 {
			who = netip.AddrPortFrom(b.Prefix.Addr(), b.Port).String()
		}
		rows = append(rows, []string{who, b.Kind, b.Rule, since(now, b.At), short(b.Until.Sub(now)), strconv.Itoa(b.Repeat), b.Reason})
	}
	return g.show(w, bans, "SOURCE\tKIND\tRULE\tSINCE\tENDS IN\tREPEATS\tREASON", rows)
}

func newLift(g *globals) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "lift ADDRESS|PREFIX", Short: "End the bans and limits on an address or within a prefix", Args: arguments("an address or a prefix"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := parsePrefix(args[0])
			if err != nil {
				return err
			}
			var lifted console.Lifted
			if err := g.client().Do(c.Context(), http.MethodPost, "/v1/lift", console.LiftRequest{Prefix: p, Reason: reason}, &lifted); err != nil {
				return err
			}
			warn(c.ErrOrStderr(), lifted.Warning)
			if g.format == "json" {
				return g.show(c.OutOrStdout(), lifted, "", nil)
			}
			if len(lifted.Bans) == 0 {
				return fmt.Errorf("nothing is banned or limited on %s; `ringfence explain %s` says what is known", p, args[0])
			}
			for _, b := range lifted.Bans {
				fmt.Fprintf(c.OutOrStdout(), "lifted the %s of %s that rule %s made (%s)\n", b.Kind, b.Prefix, b.Rule, printable(b.Reason))
			}
			return nil
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it is kept")
	return c
}

// warn says what is not as it should be, if anything.
func warn(w io.Writer, warning string) {
	if warning != "" {
		fmt.Fprintln(w, "warning:", warning)
	}
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix such as 203.0.113.0/24", text)
	}
	return p.Masked(), nil
}

// parseSpan reads a duration as people write it: 90s, 30m, 24h, 7d.
func parseSpan(text string) (time.Duration, error) {
	var days int
	if n, err := fmt.Sscanf(text, "%dd", &days); err == nil && n == 1 && fmt.Sprintf("%dd", days) == text && days > 0 && days <= 3650 {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, errors.New("a duration is written like 30m, 24h or 7d, not " + fmt.Sprintf("%q", text))
	}
	return d, nil
}
