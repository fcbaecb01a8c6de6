package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"ringfence/bpf"
	"ringfence/console"
)

func newFilter(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "filter", Short: "Look at the kernel filter, or take it off"}
	status := &cobra.Command{
		Use: "status", Short: "Where the filter is and what it dropped", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			var s console.Status
			if err := g.client().Do(c.Context(), http.MethodGet, "/v1/status", nil, &s); err != nil {
				return err
			}
			rows := [][]string{{"filter", s.Filter}}
			for _, reason := range slices.Sorted(maps.Keys(s.Screen)) {
				rows = append(rows, []string{reason, strconv.FormatUint(s.Screen[reason], 10)})
			}
			return g.show(c.OutOrStdout(), map[string]any{"filter": s.Filter, "packets": s.Screen}, "WHAT\tPACKETS", rows)
		},
	}
	var pin string
	detach := &cobra.Command{
		Use: "detach", Short: "Take the pinned filter off every interface, also when no daemon runs", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			kernel, err := bpf.Load(bpf.Config{PinDir: pin})
			if err != nil {
				return err
			}
			if err := kernel.Detach(); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "the filter is off; bans in its maps are gone, those in the store come back with the daemon")
			return kernel.Close()
		},
	}
	detach.Flags().StringVar(&pin, "pin", "/sys/fs/bpf/ringfence", "directory of the pins")
	c.AddCommand(status, detach)
	return c
}
