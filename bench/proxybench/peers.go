package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const nginxConfig = `
worker_processes 2;
daemon off;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log error;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  keepalive_requests 100000000;
  upstream u { server %[3]s; keepalive 512; keepalive_requests 100000000; }
  server {
    listen %[2]s;
    listen %[4]s ssl http2;
    ssl_certificate %[1]s/cert.pem;
    ssl_certificate_key %[1]s/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {
      proxy_pass http://u;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`

// Caddy is given what nginx is given: a plain proxy, without a log and an admin API.
const caddyConfig = `
{
	admin off
	auto_https off
	log {
		level ERROR
	}
	servers {
		protocols h1 h2 h2c
	}
}
http://%[2]s {
	bind 127.0.0.1
	reverse_proxy %[5]s%[3]s
}
https://%[4]s {
	bind 127.0.0.1
	tls %[1]s/cert.pem %[1]s/key.pem
	reverse_proxy %[5]s%[3]s
}
`

// certificate writes cert.pem and key.pem for 127.0.0.1 into dir.
func certificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func loadCertificate(dir string) (tls.Certificate, error) {
	return tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
}

// free returns an address that is free; its taker takes it a moment later.
func free() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func startNginx(dir, upstream string) (*target, error) {
	return startPeer("nginx", upstream, func(plain, secure string) (*exec.Cmd, error) {
		file := filepath.Join(dir, "nginx.conf")
		err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, dir, plain, upstream, secure), 0o600)
		return exec.Command("nginx", "-c", file, "-p", dir, "-e", filepath.Join(dir, "error.log")), err
	})
}

func startCaddy(dir, upstream, scheme string) (*target, error) {
	return startPeer("caddy", upstream, func(plain, secure string) (*exec.Cmd, error) {
		file := filepath.Join(dir, "Caddyfile")
		err := os.WriteFile(file, fmt.Appendf(nil, caddyConfig, dir, plain, upstream, secure, scheme), 0o600)
		cmd := exec.Command("caddy", "run", "--config", file, "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		return cmd, err
	})
}

// startPeer starts a proxy and waits until it serves both its listeners.
func startPeer(name, upstream string, command func(plain, secure string) (*exec.Cmd, error)) (*target, error) {
	plain, err := free()
	if err != nil {
		return nil, err
	}
	secure, err := free()
	if err != nil {
		return nil, err
	}
	cmd, err := command(plain, secure)
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	for range 500 {
		up := true
		for _, addr := range []string{plain, secure} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				up = false
				break
			}
			c.Close()
		}
		if up {
			pids, err := children(cmd.Process.Pid)
			if err != nil {
				stop()
				return nil, err
			}
			return &target{name: name, addr: plain, secure: secure, pids: append(pids, cmd.Process.Pid), stop: stop}, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return nil, errors.New(name + " did not start")
}
