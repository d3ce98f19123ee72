package main

import (
	"io"
	"os"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/graf-run/graf/mcpstdio"
)

func (a *app) mcpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "mcp [TASK]",
		Short: "Serve a task's tools to a program that speaks MCP",
		Long: `Serve a task's tools, such as the search of memory, by the Model Context Protocol: on
standard input and output, for clients that start programs. Others are served by Graf
itself, at …/v1/codex/tasks/TASK/mcp.

Where an agent runs, leave TASK out: it is the one of GRAF_MEMORY_URL, with its token,
GRAF_CALLBACK_TOKEN. Elsewhere the token is yours, which searches memory and reads
tasks; it does not report for them.`,
		Example: `  codex exec -c 'mcp_servers.graf={command="graf", args=["mcp"], env_vars=["GRAF_MEMORY_URL", "GRAF_CALLBACK_TOKEN"]}' 'Do it.'
  graf mcp 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d`,
		Args:              arguments(0, 1, "at most the id of a task"),
		ValidArgsFunction: a.completeTasks,
		RunE: func(cmd *cobra.Command, given []string) error {
			bridge, err := a.bridge(given)
			if err != nil {
				return err
			}
			return bridge.Run(cmd.Context(), &mcp.IOTransport{Reader: io.NopCloser(a.in), Writer: staysOpen{a.out}})
		},
	}
}

// bridge goes to the tools of the task that is given, or that this runs in.
func (a *app) bridge(given []string) (*mcpstdio.Bridge, error) {
	if len(given) == 0 {
		return bridgeInContainer()
	}
	id, err := taskID(given[0])
	if err != nil {
		return nil, err
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	use, err := a.current()
	if err != nil {
		return nil, err
	}
	return &mcpstdio.Bridge{URL: client.ToolsURL(id), Token: use.Token}, nil
}

// bridgeInContainer takes what it needs from the container contract.
func bridgeInContainer() (*mcpstdio.Bridge, error) {
	task, ok := strings.CutSuffix(os.Getenv("GRAF_MEMORY_URL"), "/memory")
	token := os.Getenv("GRAF_CALLBACK_TOKEN")
	if !ok || token == "" {
		return nil, usage("without a task it needs GRAF_MEMORY_URL and GRAF_CALLBACK_TOKEN, which agents are started with\n" +
			"run: graf mcp TASK; or have the agent hand the variables on")
	}
	return &mcpstdio.Bridge{URL: task + "/mcp", Token: token}, nil
}

// staysOpen is a writer of the process, which is closed with it.
type staysOpen struct{ io.Writer }

// Close implements io.Closer.
func (staysOpen) Close() error { return nil }
