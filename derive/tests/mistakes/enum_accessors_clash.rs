//! Variants whose names are equal in snake case would get accessors with the same name.

#[derive(exostate::State, Clone)]
enum Server {
    #[default]
    Off,
    HttpServer(u16),
    HTTPServer { port: u16 },
}

fn main() {}
