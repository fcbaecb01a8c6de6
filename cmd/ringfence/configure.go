package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
)

const day = 24 * time.Hour

func newConfig(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	f := new(runFlags)
	var effective bool
	show := &cobra.Command{
		Use: "show", Short: "Print the configuration as it would be in force, every default written out", Args: nothing,
		Example: "  ringfence config show --effective --config /etc/ringfence/ringfence.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := f.load(g)
			if err != nil {
				return err
			}
			if !effective {
				if cfg, err = f.read(); err != nil {
					return err
				}
			}
			if g.format == "json" {
				return g.show(c.OutOrStdout(), cfg, "", nil)
			}
			text, err := yaml.Dump(cfg)
			if err != nil {
				return fmt.Errorf("configuration: %w", err)
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	show.Flags().BoolVar(&effective, "effective", false, "with every default written out and the flags applied")
	f.register(show.Flags())
	c.AddCommand(show)
	return c
}

// read reads the file that the flags name; without one it is empty.
func (f *runFlags) read() (*config, error) {
	if f.config == "" {
		return new(config), nil
	}
	return readConfig(f.config)
}

// load is the configuration in force: file, then flags, then defaults.
func (f *runFlags) load(g *globals) (*config, []trial, error) {
	c, err := f.read()
	if err != nil {
		return nil, nil, err
	}
	accounts, err := f.apply(c)
	if err != nil {
		return nil, nil, err
	}
	state := g.state
	if state == "" {
		state = c.Store.Dir
	}
	if state == "" {
		state = "var"
	}
	c.Store.Dir = state
	c.fill(state)
	return c, accounts, nil
}
