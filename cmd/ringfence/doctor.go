package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence/console"
	"ringfence/guard"
)

func newDoctor(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Look at kernel, files, next hops and clocks, and say what to do", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			var findings []console.Finding
			err := g.client().Do(c.Context(), http.MethodGet, "/v1/doctor", nil, &findings)
			if err != nil {
				findings = append(examineHost(), console.Finding{What: "daemon", Say: err.Error(), Do: "start it with `ringfence run`"})
			}
			rows, ill := [][]string{}, false
			for _, f := range findings {
				mark := "ok"
				if !f.OK {
					mark, ill = "!!", true
				}
				rows = append(rows, []string{mark, f.What, f.Say, f.Do})
			}
			if err := g.show(c.OutOrStdout(), findings, "\tWHAT\tFOUND\tDO", rows); err != nil {
				return err
			}
			if ill {
				return errProblems
			}
			return nil
		},
	}
}

func newStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "What the daemon is doing", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			var s console.Status
			if err := g.client().Do(c.Context(), http.MethodGet, "/v1/status", nil, &s); err != nil {
				return err
			}
			rows := [][]string{
				{"up", short(time.Since(s.Started))},
				{"listening", strings.Join(s.Listen, " ")},
				{"rules", s.Policy},
				{"filter", s.Filter},
				{"store", s.Store},
				{"bans, limits", fmt.Sprintf("%d, %d", s.Bans, s.Limits)},
				{"calls", strconv.Itoa(s.Calls)},
			}
			for _, h := range s.Hops {
				rows = append(rows, []string{"next hop " + h.Name, hopText(h)})
			}
			for _, name := range slices.Sorted(maps.Keys(s.Messages)) {
				rows = append(rows, []string{name, strconv.FormatUint(s.Messages[name], 10)})
			}
			for _, name := range slices.Sorted(maps.Keys(s.Screen)) {
				rows = append(rows, []string{"screen " + name, strconv.FormatUint(s.Screen[name], 10)})
			}
			for _, name := range slices.Sorted(maps.Keys(s.Sockets)) {
				rows = append(rows, []string{"sockets " + name, strconv.FormatUint(s.Sockets[name], 10)})
			}
			return g.show(c.OutOrStdout(), s, "RINGFENCE\t"+s.Version, rows)
		},
	}
}

// hopText says how a next hop is, and how fast it answers.
func hopText(h console.Hop) string {
	text := "down"
	switch {
	case h.Servers == 0:
		text = "no server"
	case h.Servers > 1:
		text = fmt.Sprintf("%d of %s up", h.Up, count(h.Servers, "server"))
	case h.Up > 0:
		text = "up"
	}
	if h.Responses == 0 {
		return text + ", nothing was forwarded yet"
	}
	return fmt.Sprintf("%s, answers in %s (median), %s (99 %%), %s", text, brief(h.Median), brief(h.P99), count(int(h.Responses), "response"))
}

// brief is a duration with two digits.
func brief(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 100*unit {
			return d.Round(unit)
		}
	}
}

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			if g.format == "json" {
				return g.show(c.OutOrStdout(), map[string]string{"version": version(), "go": runtime.Version()}, "", nil)
			}
			_, err := io.WriteString(c.OutOrStdout(), versionLine())
			return err
		},
	}
}

// versionLine is what `ringfence version` prints.
func versionLine() string {
	return fmt.Sprintf("ringfence %s, %s, %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// version is the commit that the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if revision == "" {
		return strings.Trim(info.Main.Version, "()")
	}
	return revision + dirty
}

func newGuards(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "guards", Short: "List the guards of this build", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			type row struct {
				Name string `json:"name"`
				Doc  string `json:"doc"`
			}
			all, rows := []row{}, [][]string{}
			for _, k := range guard.Kinds() {
				all = append(all, row{k.Name, k.Doc})
				summary, _, _ := strings.Cut(k.Doc, ". ")
				rows = append(rows, []string{k.Name, summary})
			}
			return g.show(c.OutOrStdout(), all, "GUARD\tKNOWS", rows)
		},
	}
}
