package kubernetes_test

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/graf-run/graf/local/kubernetes"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kube/conformance"
)

const namespace = "graf-test"

// folderVariable makes the test binary run a cluster on that folder, until it is killed, instead of the tests.
const folderVariable = "GRAF_TEST_CLUSTER_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(folderVariable); folder != "" {
		serveUntilKilled(folder)
	}
	os.Exit(m.Run())
}

func options(folder string, notify kubernetes.Notify) kubernetes.Options {
	return kubernetes.Options{
		DataDir: folder, Namespaces: []string{namespace}, Notify: notify, Logger: slog.New(slog.DiscardHandler),
	}
}

func start(t *testing.T, o kubernetes.Options) *kubernetes.Cluster {
	t.Helper()
	cluster, err := kubernetes.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, cluster) })
	return cluster
}

func stop(t *testing.T, cluster *kubernetes.Cluster) {
	t.Helper()
	if err := cluster.Close(conformance.Context(t)); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// setup starts a cluster of the test's own.
func setup(t *testing.T) conformance.Target {
	t.Helper()
	return targetOf(start(t, options(t.TempDir(), nil)))
}

func targetOf(cluster *kubernetes.Cluster) conformance.Target {
	return conformance.Target{
		Config: &rest.Config{
			Host: cluster.URL(), BearerToken: cluster.Token(), QPS: -1,
			TLSClientConfig: rest.TLSClientConfig{CAData: cluster.Certificate()},
		},
		Namespace: namespace, Image: "ignored.test/image",
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	cluster := start(t, options(t.TempDir(), nil))
	conformance.Conformance(t, targetOf(cluster))
}

// pipe is a named pipe: reading it waits for the process that opens it, and its end is the end of every process that
// holds it open.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// stubborn is a script that ignores SIGTERM, and so does the child it forks, which also leaves the process group. Both
// hold the pipe open.
func stubborn(pipe string) string {
	return "trap '' TERM; exec 3>" + pipe + "; setsid sleep 600 & sleep 600 & echo running >&3; wait; wait; wait"
}

// awaitRunning waits for the script at the other end and returns the pipe.
func awaitRunning(t *testing.T, path string) *bufio.Reader {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	reader := bufio.NewReader(file)
	if line, err := reader.ReadString('\n'); line != "running\n" {
		t.Fatalf("read %q, %v", line, err)
	}
	return reader
}

// awaitGone returns when no process holds the pipe any more.
func awaitGone(t *testing.T, reader *bufio.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(reader); err != nil || len(rest) > 0 {
		t.Fatalf("read %q, %v", rest, err)
	}
}

func TestProcessesEndWithTheirJob(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, conformance.Target, kube.Execution){
		"delete": func(t *testing.T, target conformance.Target, execution kube.Execution) {
			if err := target.Client(t).Delete(conformance.Context(t), execution); err != nil {
				t.Fatal(err)
			}
		},
		"deadline": func(t *testing.T, target conformance.Target, execution kube.Execution) {
			if end := target.AwaitEnd(conformance.Context(t), t, execution); end.Phase != kube.PhaseDeadlineExceeded {
				t.Errorf("got %+v", end)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, path := setup(t), pipe(t)
			spec := target.Spec(stubborn(path))
			spec.Timeout = 3 * time.Second
			execution := conformance.Launch(t, target.Client(t), spec)
			reader := awaitRunning(t, path)
			end(t, target, execution)
			awaitGone(t, reader)
		})
	}
}

func TestGracefulEnd(t *testing.T) {
	t.Parallel()
	target, path := setup(t), pipe(t)
	client := target.Client(t)
	spec := target.Spec("exec 3>" + path + "; trap 'echo graceful >&3; exit 0' TERM; echo running >&3; " +
		"sleep 600 3>&- & wait")
	spec.GracePeriod = time.Minute
	execution := conformance.Launch(t, client, spec)
	reader := awaitRunning(t, path)
	if err := client.Delete(conformance.Context(t), execution); err != nil {
		t.Fatal(err)
	}
	if line, err := reader.ReadString('\n'); line != "graceful\n" {
		t.Errorf("read %q, %v", line, err)
	}
	awaitGone(t, reader)
}

func TestKilledFromOutside(t *testing.T) {
	t.Parallel()
	target := setup(t)
	client := target.Client(t)
	execution := conformance.Launch(t, client, target.Spec("kill -SEGV $$"))
	if end := target.AwaitEnd(conformance.Context(t), t, execution); end.Phase != kube.PhaseFailed {
		t.Fatalf("got %+v", end)
	}
	got, err := client.Termination(conformance.Context(t), execution)
	if err != nil || got.Signal != int(syscall.SIGSEGV) || got.ExitCode != 128+int(syscall.SIGSEGV) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEnvironmentIsThePodsOwn(t *testing.T) {
	t.Parallel()
	target := setup(t)
	execution := conformance.Launch(t, target.Client(t), target.Spec(
		`test -z "$(env | cut -d= -f1 | grep -v -e ^GRAF_ -e ^TRACEPARENT -e ^PATH -e ^HOME -e ^PWD -e ^OLDPWD -e ^_ -e ^SHLVL)"`))
	if end := target.AwaitEnd(conformance.Context(t), t, execution); end.Phase != kube.PhaseSucceeded {
		t.Errorf("the process sees more than its own environment: %+v", end)
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir(), nil)
	o.LogBytes = 64 << 10
	target := targetOf(start(t, o))
	execution := conformance.Launch(t, target.Client(t),
		target.Spec("head -c 8000000 /dev/zero | tr '\\0' x; echo the end; exit 3"))
	target.AwaitEnd(conformance.Context(t), t, execution)
	got, err := target.Client(t).Termination(conformance.Context(t), execution)
	if err != nil || got.ExitCode != 3 || len(got.Message) != 2048 || !strings.HasSuffix(got.Message, "xthe end\n") {
		t.Errorf("got %d bytes of message, %+v, %v", len(got.Message), got, err)
	}
	var total int64
	logs, _ := filepath.Glob(filepath.Join(o.DataDir, "pods", "*.log*"))
	for _, path := range logs {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total == 0 || total > o.LogBytes {
		t.Errorf("%d bytes of log in %v, want at most %d", total, logs, o.LogBytes)
	}
}

func TestNothingRemainsOnDisk(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir(), nil)
	cluster := start(t, o)
	target := targetOf(cluster)
	execution := launch(t, target.Client(t), target.Spec("echo noise"))
	target.AwaitEnd(conformance.Context(t), t, execution)
	if err := target.Client(t).Delete(conformance.Context(t), execution); err != nil {
		t.Fatal(err)
	}
	stop(t, cluster)
	start(t, o)
	if left, _ := filepath.Glob(filepath.Join(o.DataDir, "pods", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
