//! Variants whose names are one in snake case need accessors of one name.

#[derive(exostate::State, Clone)]
enum Server {
    #[default]
    Off,
    HttpServer(u16),
    HTTPServer { port: u16 },
}

fn main() {}
