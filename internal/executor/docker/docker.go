package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// How the agent gets into the container (Config.Files).
const (
	Bind = "bind" // mounted from this machine's file system
	Copy = "copy" // copied in
)

// DefaultProcesses is the limit of processes for a job that names none. It is
// far above what builds need and stops a fork bomb.
const DefaultProcesses = 8192

// Config of an Executor.
type Config struct {
	Host  string   // "unix:///run/docker.sock", "tcp://…"; "" = DOCKER_HOST, else the first usual socket that answers
	Exe   string   // the sluice binary, static, for the engine's architecture; "" = this process's
	Root  string   // folder for the sockets, made if missing
	Tools []string // names to link to Exe on the PATH of every container
	Files string   // Bind or Copy; "" = Bind where the engine can see Root, else Copy
	Owner string   // whose containers these are, for Sweep; "" = this machine's Root
	User  string   // folder of Docker's config.json; "" = DOCKER_CONFIG, else ~/.docker

	// Helper runs a credential helper (docker-credential-NAME) with a verb on its
	// command line and text on its input, and gives what it prints. Nil = the
	// helpers that config.json names are not asked.
	Helper func(ctx context.Context, name, verb, input string) ([]byte, error) `json:"-"`
}

// Executor runs jobs in containers. It is a ci.Executor.
type Executor struct {
	cfg Config
	api *client.Client

	noDefault atomic.Bool // the engine's default network does not work
	copies    atomic.Bool // the engine does not see our file system

	mu   sync.Mutex
	info *Engine // nil until it has been asked
	bins string  // the folder of tools, once made
}

// New gives an executor for an engine. It does not talk to the engine yet.
func New(c Config) (*Executor, error) {
	host := c.Host
	if host == "" {
		host = defaultHost(os.Getenv)
	}
	if strings.HasPrefix(host, "ssh://") {
		return nil, fmt.Errorf("engine %s: ssh is not spoken; forward the engine's socket with 'ssh -L /tmp/engine.sock:/var/run/docker.sock HOST' and use unix:///tmp/engine.sock: %w", host, ci.ErrInvalid)
	}
	opts := []client.Opt{client.WithHost(host)}
	if os.Getenv("DOCKER_CERT_PATH") != "" && !strings.HasPrefix(host, "unix://") {
		opts = append(opts, client.WithTLSClientConfigFromEnv())
	}
	api, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("engine %s: %w: %w", host, err, ci.ErrInvalid)
	}
	if c.Root, err = filepath.Abs(c.Root); err != nil {
		return nil, fmt.Errorf("folder of the docker executor: %w", err)
	}
	if c.Exe == "" {
		if c.Exe, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find the sluice binary: %w", err)
		}
	}
	if c.Owner == "" {
		name, _ := os.Hostname()
		sum := sha256.Sum256([]byte(name + "\x00" + c.Root))
		c.Owner = hex.EncodeToString(sum[:6])
	}
	e := &Executor{cfg: c, api: api}
	if c.Files == Copy || c.Files == "" && (!strings.HasPrefix(host, "unix://") || confined()) {
		e.copies.Store(true)
	}
	return e, nil
}

// confined says whether SELinux would keep a container from files of ours.
// Relabelling the user's files to get around it would be worse than copying.
func confined() bool {
	b, err := os.ReadFile("/sys/fs/selinux/enforce")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// defaultHost is where an engine is looked for: DOCKER_HOST, then Docker's and
// Podman's usual sockets, root's and the user's own.
func defaultHost(getenv func(string) string) string {
	if h := getenv("DOCKER_HOST"); h != "" {
		return h
	}
	candidates := []string{"/var/run/docker.sock"}
	if run := getenv("XDG_RUNTIME_DIR"); run != "" {
		candidates = append(candidates, run+"/docker.sock", run+"/podman/podman.sock")
	}
	candidates = append(candidates, "/run/podman/podman.sock")
	for _, c := range candidates {
		if usable(c) {
			return "unix://" + c
		}
	}
	return client.DefaultDockerHost
}

// Name is "docker".
func (e *Executor) Name() string { return "docker" }

// explain turns an engine's error into one that says what to do, with ci's
// sentinel of the same meaning.
func (e *Executor) explain(err error) error {
	host := e.api.DaemonHost()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ci.ErrUnavailable), errors.Is(err, ci.ErrDenied), errors.Is(err, ci.ErrInvalid):
		return err // explained already
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("no permission to use the container engine at %s; join its group (usermod -aG docker $USER, then log in again) or use --executor local: %w: %w", host, err, ci.ErrDenied)
	case client.IsErrConnectionFailed(err), errors.Is(err, os.ErrNotExist), unreachable(err):
		return fmt.Errorf("no container engine answers at %s; start it (systemctl start docker), set DOCKER_HOST, or use --executor local: %w: %w", host, err, ci.ErrUnavailable)
	}
	return fmt.Errorf("container engine: %w", err)
}
