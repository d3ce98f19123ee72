package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/graf-run/graf/runner"
	"github.com/graf-run/graf/runner/repository"
)

// workFlags are of the folder that the agent works in.
func workFlags(flags *pflag.FlagSet, c *runner.Config) {
	r := &c.Repository
	flags.StringVar(&r.URL, "repository", "", "URL of a git repository to clone into the working folder; credentials are in GIT_USERNAME and GIT_TOKEN")
	flags.StringVar(&r.Revision, "revision", "", "branch, tag or commit to begin with (the remote's default branch)")
	flags.StringVar(&r.Branch, "branch", "", "branch for the work (graf/ and the task's id)")
	flags.BoolVar(&r.Push, "push", false, "push the branch when the agent has not failed")
	flags.BoolVar(&r.PullRequest, "pull-request", false, "push, and open a pull request for the branch")
	flags.StringVar(&r.Forge, "forge", "", "where the pull request is opened: github or gitea (told by the host)")
	flags.StringVar(&r.ForgeURL, "forge-url", "", "where the forge's API begins (derived of the repository's URL)")
	flags.DurationVar(&r.Timeout, "repository-timeout", r.Timeout, "what a clone or a push may take")
	flags.BoolVar(&r.AllowFile, "repository-file", false, "allow repositories of the file system, file://")
	flags.StringVar(&c.Manifests, "manifests", "", "folder in the working one that the submitted manifests are copied to (not copied)")
}

// credentialCommand is what git calls for the credentials.
func credentialCommand() *cobra.Command {
	return &cobra.Command{
		Use: repository.HelperName + " ORIGIN OPERATION", Short: "Tell git the credentials for an origin", Hidden: true,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return repository.Credential(repository.AskRunner, args[0], args[1], os.Stdin, os.Stdout)
		},
	}
}
