package kubernetes_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/local/kubernetes"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kube/conformance"
)

// delivery is one call of Notify.
type delivery struct {
	verb string
	job  kube.Observation
}

// recorder returns a Notify that passes on what it takes.
func recorder() (kubernetes.Notify, <-chan delivery) {
	taken := make(chan delivery, 100)
	return func(_ context.Context, verb string, job *unstructured.Unstructured) error {
		observation, err := kube.ParseJob(job)
		taken <- delivery{verb, observation}
		return err
	}, taken
}

func next(t *testing.T, taken <-chan delivery) delivery {
	t.Helper()
	select {
	case d := <-taken:
		return d
	case <-conformance.Context(t).Done():
		t.Fatal("nothing was handed over")
		return delivery{}
	}
}

func TestNotifyTellsEachJobsLife(t *testing.T) {
	t.Parallel()
	notify, taken := recorder()
	target := targetOf(start(t, options(t.TempDir(), notify)))
	client := target.Client(t)
	execution := conformance.Launch(t, client, target.Spec("exit 4"))
	added, updated := next(t, taken), next(t, taken)
	if err := client.Delete(conformance.Context(t), execution); err != nil {
		t.Fatal(err)
	}
	deleted := next(t, taken)
	verbs := []string{added.verb, updated.verb, deleted.verb}
	if !slices.Equal(verbs, []string{kubernetes.VerbAdd, kubernetes.VerbUpdate, kubernetes.VerbDelete}) {
		t.Errorf("verbs %v", verbs)
	}
	if added.job.Phase != kube.PhaseActive || added.job.StartedAt.IsZero() || added.job.Execution != execution {
		t.Errorf("added: %+v", added.job)
	}
	if updated.job.Phase != kube.PhaseFailed || updated.job.FinishedAt.IsZero() {
		t.Errorf("updated: %+v", updated.job)
	}
	if deleted.job.Phase != kube.PhaseFailed || deleted.job.Execution != execution {
		t.Errorf("deleted: %+v", deleted.job)
	}
}

func TestNotifyIsRepeatedUntilTaken(t *testing.T) {
	t.Parallel()
	refusals := 2
	notify, taken := recorder()
	target := targetOf(start(t, options(t.TempDir(),
		func(ctx context.Context, verb string, job *unstructured.Unstructured) error {
			if refusals--; refusals >= 0 { // one Job: its calls come one after the other
				return errors.New("not now")
			}
			return notify(ctx, verb, job)
		})))
	conformance.Launch(t, target.Client(t), target.Spec("exit 0"))
	for _, want := range []kube.Phase{kube.PhaseActive, kube.PhaseSucceeded} {
		if got := next(t, taken); got.job.Phase != want {
			t.Errorf("got %+v, want phase %q", got, want)
		}
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// run runs a cluster on a folder, hands it to use, and ends it.
		run func(t *testing.T, folder string, use func(conformance.Target))
	}{
		"stopped": {func(t *testing.T, folder string, use func(conformance.Target)) {
			t.Helper()
			refuse := func(context.Context, string, *unstructured.Unstructured) error { return errors.New("not taken") }
			cluster := start(t, options(folder, refuse))
			use(targetOf(cluster))
			stop(t, cluster)
		}},
		"killed": {func(t *testing.T, folder string, use func(conformance.Target)) {
			t.Helper()
			kill := other(t, folder)
			config, err := kube.Config{Kubeconfig: filepath.Join(folder, "kubeconfig"), Timeout: 1e10}.REST()
			if err != nil {
				t.Fatal(err)
			}
			use(conformance.Target{Config: config, Namespace: namespace, Image: "ignored.test/image"})
			kill()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder, path := t.TempDir(), pipe(t)
			var running, done kube.Execution
			var processes *bufio.Reader
			c.run(t, folder, func(target conformance.Target) {
				client, ctx := target.Client(t), conformance.Context(t)
				done = launch(t, client, target.Spec("exit 0"))
				target.AwaitEnd(ctx, t, done)
				running = launch(t, client, target.Spec(stubborn(path)))
				processes = awaitRunning(t, path)
			})
			checkAfterRestart(t, folder, running, done, processes)
		})
	}
}

// launch is conformance.Launch for a cluster that is gone at the end of the test.
func launch(t *testing.T, client *kube.Client, spec kube.JobSpec) kube.Execution {
	t.Helper()
	execution, err := client.Launch(conformance.Context(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	return execution
}

func checkAfterRestart(t *testing.T, folder string, running, done kube.Execution, processes *bufio.Reader) {
	t.Helper()
	notify, taken := recorder()
	target := targetOf(start(t, options(folder, notify)))
	awaitGone(t, processes)
	client, ctx := target.Client(t), conformance.Context(t)
	if got, err := client.Get(ctx, running); err != nil || got.Phase != kube.PhaseFailed {
		t.Errorf("what ran: %+v, %v", got, err)
	}
	if got, err := client.Termination(ctx, running); err != nil || got.Reason != "ContainerStatusUnknown" {
		t.Errorf("how it ended: %+v, %v", got, err)
	}
	if got, err := client.Get(ctx, done); err != nil || got.Phase != kube.PhaseSucceeded {
		t.Errorf("what was done: %+v, %v", got, err)
	}
	phases := map[kube.Execution][]kube.Phase{}
	for range 4 { // all that the first process did not hand over, and the end of what ran
		got := next(t, taken)
		phases[got.job.Execution] = append(phases[got.job.Execution], got.job.Phase)
	}
	if !slices.Equal(phases[running], []kube.Phase{kube.PhaseActive, kube.PhaseFailed}) ||
		!slices.Equal(phases[done], []kube.Phase{kube.PhaseActive, kube.PhaseSucceeded}) {
		t.Errorf("handed over: %v", phases)
	}
}

func TestPendingPodStartsAfterRestart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	cluster := start(t, options(folder, nil))
	job := createJob(t, cluster, "pending", waitsForSecret)
	stop(t, cluster)
	cluster = start(t, options(folder, nil))
	createSecret(t, cluster, "late")
	target := targetOf(cluster)
	if end := target.AwaitEnd(conformance.Context(t), t, job); end.Phase != kube.PhaseSucceeded {
		t.Errorf("got %+v", end)
	}
}

func TestOneClusterPerFolder(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir(), nil)
	start(t, o)
	if second, err := kubernetes.Start(o); err == nil {
		stop(t, second)
		t.Error("two clusters run on one folder")
	}
}

// serveUntilKilled is the other process of TestPlatformKilled. What it has to hand over is never taken.
func serveUntilKilled(folder string) {
	cluster, err := kubernetes.Start(options(folder,
		func(context.Context, string, *unstructured.Unstructured) error { return errors.New("not taken") }))
	if err == nil {
		err = cluster.WriteKubeconfig(filepath.Join(folder, "kubeconfig"))
	}
	if err != nil {
		_, _ = os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString("serving\n")
	select {}
}

// other is a cluster in a process of its own.
func other(t *testing.T, folder string) (kill func()) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), folderVariable+"="+folder)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "serving\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	return kill
}
