package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	graf "github.com/graf-run/graf/sdk/go"
)

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
	// live says whether out is a terminal that can be drawn on, width its columns, and
	// progress whether err is one.
	live, progress bool
	width          int
	// colour says whether out is to be coloured, see https://no-color.org.
	colour bool
}

const plainWidth = 110

// terminalStreams are the process's own.
func terminalStreams() streams {
	s := streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, width: plainWidth, progress: drawable(os.Stderr)}
	if !drawable(os.Stdout) {
		return s
	}
	s.live, s.colour = true, os.Getenv("NO_COLOR") == ""
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && width > 0 {
		s.width = width
	}
	return s
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }

func drawable(file *os.File) bool { return isTerminal(file) && os.Getenv("TERM") != "dumb" }

// app is what the commands share.
type app struct {
	streams
	context string // the one that --context names
	output  string // of --output
}

const examples = `  graf login http://127.0.0.1:8080 < token-file
  graf submit 'Give the web pods a memory limit.' --target deploy/web -n prod --watch -- my-agent
  graf list --status failed -o json
  graf diff 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d`

const exitHelp = `Exit status: 0 done; 1 another error; 2 wrong usage; 3 not found; 4 not authenticated
or not allowed; 5 the state does not allow it; 6 not valid; 7 Graf is away, its answer
broke off, or it asks to wait, or an undo goes on; with submit --watch and watch 10 the
task failed, 11 it was cancelled, 12 it was timed out; 130 interrupted.`

// execute runs one command line and gives the status to exit with.
func execute(ctx context.Context, arguments []string, s streams) int {
	a := &app{streams: s}
	root := &cobra.Command{
		Use:   "graf",
		Short: "Let agents work on Kubernetes resources, and see what they did",
		Long: `graf submits tasks to Graf, watches them, and shows what came of them.

It finds Graf by the context that graf login keeps, or by GRAF_URL and GRAF_TOKEN,
which win.

` + exitHelp,
		Example:       examples,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w\nsee %s --help", err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.context, "context", "", "context to use instead of the current one, see graf login")
	flags.StringVarP(&a.output, "output", "o", "", "table, json or yaml (default: table, or what suits people)")
	root.AddCommand(a.submitCommand(), a.watchCommand(), a.getCommand(), a.listCommand(), a.cancelCommand(), a.retryCommand(),
		a.logsCommand(), a.artifactsCommand(), a.diffCommand(), a.undoCommand(), a.approveCommand(), a.memoryCommand(),
		a.dlqCommand(), a.mcpCommand(), a.loginCommand(), a.contextsCommand())
	root.SetArgs(arguments)
	err := root.ExecuteContext(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(s.err, "graf:", printableLines(explain(ctx, err)))
	}
	return status(ctx, err)
}

// arguments checks how many there are, and says what is to be given.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if len(given) >= least && len(given) <= most {
			return nil
		}
		return usage("%s takes %s\nsee %s --help", cmd.CommandPath(), what, cmd.CommandPath())
	}
}

// parseID reads an id that was given as an argument; where is what shows such ids.
func parseID(text, where string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return id, usage("%q is no id\n%s", text, where)
	}
	return id, nil
}

// taskID reads that of a task.
func taskID(text string) (uuid.UUID, error) { return parseID(text, noTask) }

// pageLimit is how many things a page may have of so many that are wanted.
func pageLimit(wanted int) (int, error) {
	if wanted < 1 {
		return 0, usage("--limit %d: it is 1 or more", wanted)
	}
	return min(wanted, 200), nil
}

// client is a client of the Graf in use.
func (a *app) client() (*graf.Client, error) { return a.clientTrying(graf.Retry{}) }

// clientTrying is a client of the Graf in use, with its own tries.
func (a *app) clientTrying(retry graf.Retry) (*graf.Client, error) {
	if err := a.checkOutput(); err != nil {
		return nil, err
	}
	use, err := a.current()
	if err != nil {
		return nil, err
	}
	options := use.options()
	options.UserAgent = "graf-cli"
	options.Retry = retry
	client, err := graf.New(options)
	if err != nil {
		return nil, usage("%w", err)
	}
	return client, nil
}
