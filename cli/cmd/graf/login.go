package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	graf "github.com/graf-run/graf/sdk/go"
)

// maxToken is far more than any token has, in bytes.
const maxToken = 16 << 10

func (a *app) loginCommand() *cobra.Command {
	var use profile
	var agent submitFlags
	command := &cobra.Command{
		Use:   "login URL [-- AGENT [ARGUMENT…]]",
		Short: "Keep a Graf's address and token as a context, and make it the current one",
		Long: `Keep a Graf's address and token as a context, and make it the current one.

The token is read from standard input, which may be a terminal, or from GRAF_TOKEN, never
from the command line, which shells and process lists keep. At a terminal GRAF_TOKEN
wins; where both give one they must be the same. It is tried before it is kept. The file is
GRAF_CONFIG, or graf/config.yaml in your folder of settings, and for you alone (0600).
What stands behind -- is the agent that graf submit runs unless it is told; --agent
says that it is codex or claude.`,
		Example: `  graf login http://127.0.0.1:8080 < .graf/token
  graf login https://graf.example --context prod --image registry.example/agent:1 -- my-agent
  graf login https://graf.example --agent codex --model gpt-5-codex`,
		Args: func(cmd *cobra.Command, given []string) error {
			if before := beforeDash(cmd, given); before != 1 {
				return usage("graf login takes the address of a Graf\nsee graf login --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			use.URL = given[0]
			if command := given[1:]; len(command) > 0 || agent.kind != "" {
				use.Agent = &graf.Agent{Kind: graf.AgentKindCommand}
				agent.override(use.Agent, command)
			} else if agent.image != "" || agent.model != "" {
				return usage("--image and --model are the agent's: give its kind by --agent, or name its program behind --")
			}
			return a.login(cmd, use)
		},
	}
	flags := command.Flags()
	flags.StringVar(&use.CallbackURL, "callback-url", "", "address of callback, where it is another")
	flags.StringVar(&use.MemoryURL, "memory-url", "", "address of memory, where it is another")
	flags.StringVar(&agent.kind, "agent", "", "kind of agent that tasks get: command, codex or claude")
	flags.StringVar(&agent.model, "model", "", "its language model")
	flags.StringVar(&agent.image, "image", "", "its container image")
	return command
}

// beforeDash is how many arguments there are before "--".
func beforeDash(cmd *cobra.Command, given []string) int {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		return at
	}
	return len(given)
}

func (a *app) login(cmd *cobra.Command, use profile) error {
	address, err := url.Parse(use.URL)
	if err != nil || address.Host == "" {
		return usage("%q is no address such as https://graf.example", use.URL)
	}
	if use.Token, err = a.readToken(cmd.Context()); err != nil {
		return err
	}
	client, err := graf.New(use.options())
	if err != nil {
		return usage("%w", err)
	}
	if _, err := client.TaskPage(cmd.Context(), graf.ListTasksParams{Limit: 1}); err != nil {
		return fmt.Errorf("the token was not kept: %w", err)
	}
	kept, err := readConfig()
	if err != nil {
		return err
	}
	kept.Current = cmp.Or(a.context, address.Host)
	kept.Contexts[kept.Current] = use
	if err := kept.write(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "logged in to %s as context %s\n", use.URL, kept.Current)
	return err
}

// readToken reads the token from standard input, unseen where it is typed, or GRAF_TOKEN.
func (a *app) readToken(ctx context.Context) (string, error) {
	set := os.Getenv("GRAF_TOKEN")
	if file, ok := a.in.(*os.File); ok && isTerminal(file) {
		if set != "" {
			return set, nil
		}
		line, err := a.typed(ctx, file, "Token")
		return strings.TrimSpace(line), err
	}
	line, err := await(ctx, func() (string, error) {
		return bufio.NewReader(io.LimitReader(a.in, maxToken)).ReadString('\n')
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the token: %w", err)
	}
	switch token := strings.TrimSpace(line); {
	case cmp.Or(token, set) == "":
		return "", usage("there is no token on standard input\nrun: graf login URL < token-file, or set GRAF_TOKEN")
	case token != "" && set != "" && token != set:
		return "", usage("standard input and GRAF_TOKEN give different tokens\nunset GRAF_TOKEN, or have it alone: graf login URL < /dev/null")
	default:
		return cmp.Or(token, set), nil
	}
}

func (a *app) contextsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "contexts [NAME]",
		Short:   "List the contexts, or make one the current one",
		Example: "  graf contexts\n  graf contexts prod",
		Args:    arguments(0, 1, "at most the name of a context"),
		RunE: func(_ *cobra.Command, given []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			kept, err := readConfig()
			if err != nil {
				return err
			}
			if len(given) == 0 {
				return a.showContexts(kept)
			}
			if _, ok := kept.Contexts[given[0]]; !ok {
				return usage("there is no context %q\ngraf contexts lists those that there are", given[0])
			}
			kept.Current = given[0]
			return kept.write()
		},
		ValidArgsFunction: func(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(given) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			kept, _ := readConfig() // what cannot be read completes nothing
			return names(kept), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func names(kept config) []string {
	var all []string
	for name := range kept.Contexts {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// showContexts lists them without their tokens.
func (a *app) showContexts(kept config) error {
	type row struct {
		Name    string `json:"name"`
		URL     string `json:"url"`
		Current bool   `json:"current"`
	}
	rows := []row{}
	cells := [][]string{{"CURRENT", "NAME", "URL"}}
	for _, name := range names(kept) {
		mark := ""
		if name == kept.Current {
			mark = "*"
		}
		rows = append(rows, row{name, kept.Contexts[name].URL, name == kept.Current})
		cells = append(cells, []string{mark, name, kept.Contexts[name].URL})
	}
	return a.show(rows, func() error { return a.table(cells) })
}
