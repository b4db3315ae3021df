import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

/** A greeting on $PORT, from the JDK's own HTTP server. */
public class Main {
  public static void main(String[] arguments) throws Exception {
    var environment = System.getenv();
    int port = Integer.parseInt(environment.getOrDefault("PORT", "8080"));
    String who = environment.getOrDefault("TARGET", "world");
    var server = HttpServer.create(new InetSocketAddress(port), 128);
    server.setExecutor(Executors.newCachedThreadPool());
    server.createContext("/", exchange -> {
      boolean found = exchange.getRequestURI().getPath().equals("/");
      String text = found ? "hello, " + who + ", from Java " + Runtime.version().feature() + "\n" : "not found\n";
      byte[] body = text.getBytes(StandardCharsets.UTF_8);
      exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
      exchange.sendResponseHeaders(found ? 200 : 404, body.length);
      try (var out = exchange.getResponseBody()) {
        out.write(body);
      }
    });
    // On SIGTERM: what is being answered has two seconds.
    Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(2)));
    server.start();
    System.out.println("listening on port " + port);
  }
}
